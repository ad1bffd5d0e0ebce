"""The command line.

Exit codes: 0 done, 1 something failed, 2 bad input, 3 runs are left (no time, no device, or a block that
was mostly trained on another processor), 130 interrupted."""

from __future__ import annotations

import argparse
import codecs
import io
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# Whatever takes long to load is loaded by the commands that need it.
from darkknowledge import __version__, config
from darkknowledge.questions import params as p
from darkknowledge.records import RecordError, Store
from darkknowledge.spec import SpecError, choose, integer, place, plain

if TYPE_CHECKING:
    from darkknowledge.experiment.survey import Outcome
    from darkknowledge.questions.base import Parameters, Planned
    from darkknowledge.spec import RunSpec

FAILED, BAD_INPUT, LEFT, INTERRUPTED = 1, 2, 3, 130
#: What stands for a sign that a terminal's encoding lacks; for others a question mark does.
INSTEAD = {"−": "-", "≥": ">=", "≤": "<=", "→": "->", "α": "alpha", "δ": "delta", "²": "2"}


def main(argv: list[str] | None = None) -> None:
    """Entry point; leaves with an exit code."""
    codecs.register_error("instead", _instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="instead")
    if sys.stderr is None:  # it is closed, and print would take the output instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    argv = sys.argv[1:] if argv is None else argv
    end = argv.index("--") if "train" in argv and "--" in argv else len(argv)
    try:
        try:
            arguments = _parser().parse_args(argv[:end])
        finally:  # what it was asked for may have been its help
            print(end="", flush=True)
        arguments.to_engine = argv[end + 1 :]
        level = logging.INFO - 10 * arguments.verbose + 10 * arguments.quiet
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
        logging.getLogger("darkknowledge").setLevel(level)
        _listen()
        if "profile" in arguments:  # it names folders, and must not lead out of them
            plain("profile", arguments.profile)
        code = arguments.action(arguments)
        print(end="", flush=True)  # an output that is closed has nothing to flush
        sys.exit(code)
    except BrokenPipeError:  # whoever read the output has enough, as head does
        _forget_output()
        sys.exit(0)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished runs are kept; the same command goes on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (SpecError, RuntimeError) as error:  # or missing data, a failing notebook or render
        print(f"darkknowledge: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT if isinstance(error, SpecError | RecordError) else FAILED)
    except OSError as error:  # a disk that is full or read-only where only a rendering was written
        print(f"darkknowledge: {error.filename or 'A file'}: {error.strerror}.", file=sys.stderr)
        _forget_output()
        sys.exit(FAILED)


def _forget_output() -> None:
    """Lest Python, as it ends, try once more to write it, and change the exit code."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _instead(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(INSTEAD.get(sign, "?") for sign in missing), error.end


def _listen() -> None:
    """Let SIGTERM, and SIGHUP unless nohup wants it ignored, end this as Ctrl-C does, whatever state a
    parent has left them in."""
    hang_up = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none, and no mask
    told = {signal.SIGTERM} | ({hang_up} if signal.getsignal(hang_up) != signal.SIG_IGN else set())
    for number in told:
        signal.signal(number, _interrupt)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, told | {signal.SIGINT})


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a file or a folder")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    about = "A study of knowledge distillation."
    parser = argparse.ArgumentParser("darkknowledge", description=about)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log more to stderr")
    parser.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
    commands = parser.add_subparsers(title="commands", required=True)

    def command(name: str, action: Callable, help: str, questions: bool = True):
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(action=action)
        sub.add_argument("profile", help="a folder of params/, as quick or paper")
        if questions:
            sub.add_argument("questions", nargs="*", help="q1 q2 …; all of the profile by default")
        sub.add_argument("--results", type=_path, help="results folder (default: results/)")
        return sub

    train = command("train", _train, "Train the runs that have no record yet, without notebooks.")
    train.add_argument("--minutes", type=float, default=math.inf, help="stop before then")
    train.add_argument("--jobs", type=int, default=0, help="runs side by side (default: by device)")
    who = train.add_mutually_exclusive_group()
    who.add_argument(
        "--engine",
        choices=["snakemake"],
        help="make each run a job of its own; what stands after -- goes to the engine, as in "
        "-- --cores 8 --resources gpu=2, or -- --executor slurm --jobs 32",
    )
    who.add_argument(
        "--only",
        nargs="+",
        metavar="RUN_ID",
        help="train just these runs, one after the other in this process, and write no table",
    )
    what = "with --only: train those of them again whose weights are not here"
    train.add_argument("--weights", action="store_true", help=what)
    command("run", _run, "Execute a profile's notebooks through Papermill.")
    render = command("render", _render, "Render a profile's report.", questions=False)
    formats = "html, typst (a PDF) or gfm (Markdown), and with Quarto any of its formats"
    default = ["html", "typst"]
    render.add_argument("--to", nargs="+", metavar="FORMAT", default=default, help=formats)
    what = "Render a profile's published editions and the README's answers."
    command("publish", _publish, what, questions=False)
    claims = command("claims", _claims, "List every claim of the report with its evidence.")
    claims.add_argument("--json", action="store_true", help="for machines, with every run")
    what = (
        "Write the card of each net whose weights are published; train those again that are lost."
    )
    command("weights", _weights, what, questions=False)
    what = "Draw the learning curves of a profile's runs: loss parts and validation accuracy."
    curves = command("curves", _curves, what)
    what = "only these runs, by run_id or its first digits"
    curves.add_argument("--run", nargs="+", metavar="RUN_ID", help=what)
    what = "an .svg, .png or .pdf (default: _output/PROFILE/curves.svg)"
    curves.add_argument("--to", type=_path, metavar="FILE", help=what)
    what = "write them for TensorBoard, into FOLDER/ARM/RUN_ID; draws a figure only where --to asks"
    curves.add_argument("--tensorboard", type=_path, metavar="FOLDER", help=what)
    what = "Write trained networks for other programs: fp16 weights, their card, and ONNX."
    export = commands.add_parser("export", help=what, description=what)
    export.set_defaults(action=_export)
    what = "the run_id of a stored run, or at least four of its first digits"
    export.add_argument("runs", nargs="+", metavar="RUN", help=what)
    what = "folder to write into (default: exported/)"
    export.add_argument("--to", type=_path, metavar="FOLDER", help=what)
    export.add_argument("--results", type=_path, help="results folder (default: results/)")
    evaluate = commands.add_parser("evaluate", help="Count the test errors of published weights.")
    evaluate.set_defaults(action=_evaluate)
    predict = commands.add_parser("predict", help="Class probabilities of PNG or JPEG images.")
    predict.set_defaults(action=_predict)
    for sub in (evaluate, predict):
        sub.add_argument("weights", type=_path, help="a .safetensors file with its card beside it")
    predict.add_argument("images", type=_path, nargs="+")
    what = "take digits for dark on light, or not (default: as their border says)"
    predict.add_argument("--invert", action=argparse.BooleanOptionalAction, help=what)
    what = "Write a profile for one's own images, which run and render then take."
    new = commands.add_parser("new", help=what, description=what)
    new.set_defaults(action=_new)
    new.add_argument("name", help="what the profile is to be called")
    where = "a folder with one subfolder of images per class, or with train/ and test/; or the name of a "
    new.add_argument("--data", required=True, help=f"{where}known data set")
    nets = (
        "ours as mlp-400-400, torchvision's as mobilenet_v3_small, or one's own as module:callable"
    )
    new.add_argument("--teacher", default="", metavar="NET", help=f"the large network: {nets}")
    new.add_argument("--student", default="", metavar="NET", help="the small one, likewise")
    what = "a .safetensors file: this teacher is given and not trained"
    new.add_argument("--teacher-weights", default="", metavar="FILE", help=what)
    what = "pixels of a side that images are resized to"
    new.add_argument("--image-size", type=int, default=0, metavar="N", help=what)
    what = "how long its training may take here (default: 6)"
    new.add_argument("--minutes", type=float, default=6.0, help=what)
    doctor = commands.add_parser("doctor", help="Say whether everything needed is here.")
    doctor.set_defaults(action=_doctor)
    doctor.add_argument("--results", type=_path, help="results folder (default: results/)")
    command("status", _status, "Say which runs of a profile are stored and which are missing.")
    return parser


def _chosen(arguments: argparse.Namespace) -> dict[str, Parameters]:
    """The parameters of the questions asked for. Raises SpecError before anything is trained."""
    questions = arguments.questions or p.questions_of(arguments.profile)
    chosen = {q: p.read(arguments.profile, q) for q in questions}
    for sentence in p.strays(arguments.profile, chosen):
        print(f"darkknowledge: {sentence}", file=sys.stderr)
    return chosen


def _planned(chosen: dict[str, Parameters]) -> list[Planned]:
    """Their runs, each once, in the order of training."""
    from darkknowledge.questions import registry
    from darkknowledge.questions.base import ordered

    return ordered(registry.grids(chosen).values())


def _store(arguments: argparse.Namespace) -> Store:
    store = Store(arguments.results or config.project_root() / "results")
    there = next(path for path in (store.root, *store.root.absolute().parents) if path.exists())
    if not there.is_dir():
        raise SpecError(f"--results leads to {there}, which is no folder: name one.")
    return store


def _store_of(arguments: argparse.Namespace) -> Store:
    """The store of whoever shows a profile, of which the folder with its tables may be all there is."""
    store = _store(arguments)
    if not (store.root / arguments.profile).is_dir():
        p.questions_of(arguments.profile)  # refuses a profile that is none
    return store


def _train(arguments: argparse.Namespace) -> int:
    _check_train(arguments)
    store, chosen = _store(arguments), _chosen(arguments)
    from darkknowledge.experiment import survey

    planned = _planned(chosen)
    data_root = p.data_root(chosen)
    specs = survey.specs(planned)
    named = _named(arguments, specs)
    store.prepare()
    if named:
        from darkknowledge.experiment import workers

        blocks = {one.block for one in planned if one.spec in named}
        _, others = survey.startable([one for one in planned if one.block in blocks], store)
        for spec in named:
            if spec.run_id in others:
                where = f"another processor ({others[spec.run_id]}): train it there"
                raise SpecError(
                    f"{spec.label} belongs to a block that was mostly trained on {where}."
                )
        teachers, progress = survey.teachers(specs), not arguments.quiet
        if arguments.weights:
            teachers |= {spec.run_id for spec in named}
        outcome = workers.alone(named, store, data_root, teachers=teachers, progress=progress)
        # A job without a record has failed: its students must not start.
        return FAILED if _report(outcome, store, planned) or outcome.diverged else 0
    from darkknowledge import study

    due, elsewhere = survey.startable(planned, store)
    try:
        outcome = _complete(arguments, due, store, data_root)
        outcome.elsewhere = elsewhere
    finally:  # the tables of what is there, also after an interruption
        for question, params in chosen.items():
            study.write_table(question, params, store)
    code = _report(outcome, store, planned)
    print(survey.counts(arguments.profile, planned, outcome))
    return code


def _complete(
    arguments: argparse.Namespace, specs: list[RunSpec], store: Store, data_root: str | None
) -> Outcome:
    """Have the missing runs trained, by an engine or by workers, if there are any."""
    if arguments.engine:
        from darkknowledge.experiment import engine

        quiet = ["--quiet", "all"] if arguments.quiet else []
        # The command that trains the one run whose id follows.
        job = [sys.executable, "-m", "darkknowledge", "train", arguments.profile]
        job += [*arguments.questions, "--results", str(store.root.resolve()), "--only"]
        return engine.complete(specs, store, job, [*quiet, *arguments.to_engine])
    from darkknowledge.experiment import workers

    jobs, minutes, progress = arguments.jobs, arguments.minutes, not arguments.quiet
    return workers.complete(specs, store, data_root, jobs=jobs, minutes=minutes, progress=progress)


def _check_train(arguments: argparse.Namespace) -> None:
    if not arguments.minutes > 0:
        raise SpecError(f"--minutes is {arguments.minutes:g}, but must be greater than 0.")
    integer("--jobs", arguments.jobs)
    if arguments.weights and not arguments.only:
        raise SpecError("--weights goes with --only, which names the runs: add it.")
    if arguments.to_engine and not arguments.engine:
        raise SpecError("What stands after -- goes to an engine: add --engine snakemake before it.")
    if (arguments.engine or arguments.only) and (arguments.jobs or arguments.minutes < math.inf):
        other = "an engine's own limits stand after --, as in -- --jobs 32"
        raise SpecError(f"--jobs and --minutes go with neither --engine nor --only; {other}.")


def _named(arguments: argparse.Namespace, specs: list) -> list:
    """The runs that ``--only`` names, if it is given. Raises SpecError."""
    known = {spec.run_id: spec for spec in specs}
    for run_id in arguments.only or ():
        if run_id not in known:
            where = " ".join([arguments.profile, *arguments.questions])
            there = "the column run_id of a question's table in results/ lists them"
            raise SpecError(f"No run of {where} has the id {run_id!r}: {there}.")
    return [known[run_id] for run_id in arguments.only or ()]


def _report(outcome: Outcome, store: Store, planned: list[Planned]) -> int:
    """Say what became of the runs; returns the exit code."""
    from darkknowledge.experiment import survey

    others = {"diverged": outcome.diverged, "were not started": outcome.not_started}
    rest = "".join(f", {len(runs)} {word}" for word, runs in others.items() if runs)
    print(
        f"{len(outcome.trained)} runs trained, {len(outcome.stored)} were stored already, "
        f"{len(outcome.failed)} failed, {len(outcome.no_time)} left for lack of time, "
        f"{len(outcome.no_device)} for lack of their device{rest}."
    )
    if outcome.no_device:
        throughput = survey.Throughput(store, [*outcome.stored, *outcome.trained])
        for line in survey.waiting(planned, outcome, throughput):
            print(f"  {line}")
    for line in survey.begun_elsewhere(outcome.elsewhere):
        print(f"  {line}")
    for kind, messages in {"diverged": outcome.diverged, "failed": outcome.failed}.items():
        for message in messages.values():
            print(f"  {kind}: {message}")
    return FAILED if outcome.failed else 0 if outcome.complete else LEFT


def _run(arguments: argparse.Namespace) -> int:
    from darkknowledge import study
    from darkknowledge.experiment import survey
    from darkknowledge.paper import notebooks

    store, chosen = _store(arguments), _chosen(arguments)
    for question in chosen:  # a notebook that cannot be run is refused before anything is trained
        notebooks.check(notebooks.path_of(question), question)
    outcome = study.prepare(chosen, store, progress=not arguments.quiet)
    print(survey.counts(arguments.profile, _planned(chosen), outcome), flush=True)
    for line in survey.begun_elsewhere(outcome.elsewhere):
        print(line, flush=True)
    if outcome.failed:
        raise RuntimeError(next(iter(outcome.failed.values())))
    for question, done in notebooks.execute_all(arguments.profile, list(chosen), store):
        print(f"{question}: {done}", flush=True)
    return 0 if outcome.complete else LEFT


def _render(arguments: argparse.Namespace) -> int:
    from darkknowledge.paper import rendering
    from darkknowledge.paper.paper import Paper

    store = _store_of(arguments)
    paper = Paper.load(arguments.profile, store.root)
    renderer = rendering.find(fetch=True)
    made, failures = rendering.render(paper, arguments.to, renderer)
    for path in made:
        print(path)
    print(f"Rendered by {rendering.named(renderer)}.", file=sys.stderr)
    for failure in failures:
        print(f"darkknowledge: {failure}", file=sys.stderr)
    return FAILED if failures else 0


def _publish(arguments: argparse.Namespace) -> int:
    from darkknowledge.paper import editions

    for path in editions.publish(arguments.profile, _store(arguments)):
        print(path)
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    import json

    store = _store_of(arguments)
    from darkknowledge.questions.registry import QUESTIONS

    known = store.tables(arguments.profile, QUESTIONS)
    for question in arguments.questions:
        choose("a question with claims", question, known)
    from darkknowledge.evidence import text
    from darkknowledge.paper.paper import Paper

    paper = Paper.load(arguments.profile, store.root)
    asked = [q for q in paper.claims if q in arguments.questions or not arguments.questions]
    found = [claim for q in asked for claim in paper.claims[q].values()]
    if arguments.json:
        print(json.dumps([claim.as_dict() for claim in found], indent=1, ensure_ascii=False))
        return 0
    for claim in found:
        counts = f"n = {claim.effect.n} of {claim.planned}, {len(claim.run_ids)} runs"
        evidence = f": {text.told(claim)}, {counts}" if claim.measured else ""
        print(f"{claim.id}: {claim.verdict.value}{evidence}")
    return 0


def _weights(arguments: argparse.Namespace) -> int:
    from darkknowledge.questions import registry

    store = _store(arguments)
    chosen = {q: p.read(arguments.profile, q) for q in p.questions_of(arguments.profile)}
    nets = registry.published(registry.grids(chosen))
    from darkknowledge.experiment import published, run, workers

    known = [spec for spec in nets if run.stored(spec, store)]
    # Weights may not have travelled here; their runs are trained as all others are.
    root, teachers = p.data_root(chosen), {spec.run_id for spec in known}
    outcome = workers.alone(known, store, root, teachers=teachers)
    if lost := {**outcome.failed, **outcome.diverged}:
        raise RuntimeError(next(iter(lost.values())))
    total = 0
    for spec in nets:
        if not (record := run.stored(spec, store)):
            print(f"  no record yet: {spec.label}")
        elif spec in outcome.no_device:
            print(f"  weights not here, to be trained on {spec.device}: {spec.label}")
        else:
            print(published.write_card(store, record, root))
            total += record["cost"]["bytes_fp16"]
    print(f"{total / 1e6:.1f} MB in all")
    return LEFT if len(known) < len(nets) or outcome.no_device else 0


def _curves(arguments: argparse.Namespace) -> int:
    from darkknowledge.paper import curves

    store = _store(arguments)
    if arguments.to:
        curves.check_target(target := place(arguments.to))
    else:
        target = config.project_root() / "_output" / arguments.profile / "curves.svg"
    if arguments.tensorboard:
        curves.check_tensorboard(folder := place(arguments.tensorboard))
    planned = curves.rows(arguments.profile, arguments.questions, store)
    found, without = curves.read(planned, arguments.run, store)
    if not found:
        do = f"call 'darkknowledge train {arguments.profile}' first"
        raise RecordError(f"No run that was asked for has a learning curve yet: {do}.")
    if arguments.tensorboard:
        print(f"{curves.write_events(found, folder)} runs in {folder}")
    if arguments.to or not arguments.tensorboard:
        curves.save(curves.figure(found), target)
        print(target)
    if without:
        counts = (f"{n} run{'s' * (n > 1)} {reason}" for reason, n in without.items())
        print(f"Not shown: {', '.join(counts)}.", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from darkknowledge.experiment import export

    store = _store(arguments)
    folder = place(arguments.to) if arguments.to else config.project_root() / "exported"
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"--to leads to {folder}, which is no folder: name one.")
    for record in export.chosen(arguments.runs, store):
        for path in export.export(record, store, folder):
            print(path, flush=True)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from darkknowledge.experiment import cards

    weights = place(arguments.weights)
    cards.read_card(weights)  # what is wrong with them is said before torch is loaded
    from darkknowledge.experiment import published

    errors, card = published.evaluate(weights)
    print(f"{errors} errors of {card.test_images} ({card.test_errors} on the card): {card.label}")
    if published.agrees(errors, card):
        return 0
    print("darkknowledge: that is not the number on the card.", file=sys.stderr)
    return FAILED


def _predict(arguments: argparse.Namespace) -> int:
    from darkknowledge.experiment import cards

    weights, images = place(arguments.weights), [place(image) for image in arguments.images]
    cards.read_card(weights)
    for path in images:
        if not path.is_file():
            raise SpecError(f"There is no image {path}.")
    from darkknowledge.experiment import published

    model, card = published.network(weights)
    code = 0
    for path in images:  # one that cannot be read does not cost the others
        try:
            found = published.predict(model, card, path, arguments.invert)
            ordered = sorted(found.items(), key=lambda item: -item[1])
            print(f"{path}: " + ", ".join(f"{name} {value:.4f}" for name, value in ordered))
        except cards.WeightsError as error:
            print(f"darkknowledge: {error}", file=sys.stderr)
            code = FAILED
    return code


def _new(arguments: argparse.Namespace) -> int:
    from darkknowledge import own  # it loads torch

    fields = ("name", "teacher", "student", "image_size", "teacher_weights", "minutes")
    chosen = {name: getattr(arguments, name) for name in fields}
    for line in own.new(own.Request(source=arguments.data, **chosen)):
        print(line)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from darkknowledge import doctor

    ill = False
    for finding in doctor.examine(_store(arguments)):
        mark = "ok  " if finding.fine else "FAIL" if finding.needed else "note"
        print(f"{mark}  {finding.name}: {finding.found}")
        if not finding.fine:
            print(f"      {finding.remedy}")
        ill = ill or (finding.needed and not finding.fine)
    return FAILED if ill else 0


def _status(arguments: argparse.Namespace) -> int:
    from darkknowledge.experiment import survey
    from darkknowledge.questions.registry import grids

    store, chosen = _store(arguments), _chosen(arguments)
    planned = _planned(chosen)
    outcome, missing = survey.survey(survey.specs(planned), store)
    throughput = survey.Throughput(store, outcome.stored)
    for question, runs in grids(chosen).items():
        print(f"{question}: {survey.tally(survey.specs(runs), outcome)}")
    print(survey.counts(arguments.profile, planned, outcome))
    for line in survey.waiting(planned, outcome, throughput):
        print(f"  {line}")
    held = {spec.run_id for spec in missing if store.held(spec.run_id)}
    rest = [(spec.data.name, spec.run_id) for spec in missing if spec.run_id not in held]
    broken = sum(store.broken(*run) for run in rest)
    for words, count in {"under way": len(held), "with a record that is broken": broken}.items():
        if count:
            print(f"{words}: {count} of the missing runs")
    if missing:
        print(f"time left: {survey.time_left(missing, throughput)}")
    return LEFT if missing or outcome.no_device else 0
