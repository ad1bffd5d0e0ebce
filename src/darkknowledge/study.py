"""A question's parameters → its grid of runs → its tidy table.

Who trains the grid is :mod:`darkknowledge.workers`; this module says what there is to train, in
which role, and in which order it is most informative.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from darkknowledge import params as p
from darkknowledge import run
from darkknowledge.records import LATENCY_TABLE, Store, atomic_write
from darkknowledge.spec import TRUE_LABELS, LossSpec, ModelSpec, Recipe, RunSpec

ROLES = ("teacher", "baseline", "student", "control")


@dataclass(frozen=True)
class Planned:
    """A run and the part that it plays in a question. ``arm`` names the row of the comparison."""

    question: str
    role: str
    arm: str
    protocol: str
    spec: RunSpec
    pair: str = ""

    def row(self) -> dict[str, object]:
        """The planned part of the run's row in the tidy table."""
        spec, loss = self.spec, self.spec.loss
        return {
            "question": self.question,
            "role": self.role,
            "arm": self.arm,
            "protocol": self.protocol,
            "pair": self.pair,
            "mode": loss.mode,
            "model": spec.model.label,
            "dataset": spec.data.name,
            "omitted": " ".join(map(str, spec.data.omit)),
            "kept": " ".join(map(str, spec.data.keep)),
            "temperature": loss.temperature,
            "alpha": loss.w_soft,
            "w_hard": loss.w_hard,
            "w_soft": loss.w_soft,
            "seed": spec.seed,
            "teacher_seed": spec.teacher.seed if spec.teacher else float("nan"),
            "epochs": spec.recipe.epochs,
            "optimiser": spec.recipe.optimiser,
            "lr": spec.recipe.lr,
            "batch_size": spec.recipe.batch_size,
            "device": spec.device,
            "run_id": spec.run_id,
            "teacher_run_id": spec.teacher.run_id if spec.teacher else "",
        }


@dataclass(frozen=True)
class SpecBuilder:
    """What all runs of one question share; makes specs from recipes' names."""

    params: p.Question

    def spec(
        self,
        hidden: tuple[int, ...],
        recipe: str,
        seed: int,
        loss: LossSpec = TRUE_LABELS,
        teacher: RunSpec | None = None,
        *,
        omit: tuple[int, ...] = (),
        keep: tuple[int, ...] = (),
        **changes: object,
    ) -> RunSpec:
        """The RunSpec of a net trained by a named recipe (with single settings changed) on all
        classes, or on a transfer set without ``omit`` or with none but ``keep``."""
        model, optimisation = _split(recipe, hidden)
        return RunSpec(
            data=run.data_spec(self.params.dataset, self.params.validation, omit, keep),
            model=model,
            recipe=replace(optimisation, **changes),
            seed=seed,
            loss=loss,
            teacher=teacher,
            precision=self.params.precision,
            device=self.params.device,
        )

    def teachers(self) -> list[RunSpec]:
        """The cumbersome nets, one a teacher seed."""
        q = self.params
        return [self.spec(q.teacher_hidden, q.teacher_recipe, seed) for seed in q.teacher_seeds]

    def teacher_of(self, seed: int) -> RunSpec:
        """The teacher of student ``seed``: seed modulo the number of teachers."""
        teachers = self.teachers()
        return teachers[seed % len(teachers)]


# Recipes are read once a process: a grid asks for the same few names hundreds of times.
@functools.lru_cache(maxsize=64)
def _split(recipe: str, hidden: tuple[int, ...]) -> tuple[ModelSpec, Recipe]:
    return p.split_recipe(recipe, hidden)


def q1(params: p.Q1 | p.Q2) -> list[Planned]:
    """Cumbersome and small net, both on true labels."""
    build = SpecBuilder(params)
    teachers = [Planned("q1", "teacher", "teacher", "hinton", t) for t in build.teachers()]
    small = [
        Planned(
            "q1",
            "baseline",
            "hard",
            "hinton",
            build.spec(params.student_hidden, params.student_recipe, seed),
        )
        for seed in params.seeds
    ]
    return teachers + small


def q2(params: p.Q2) -> list[Planned]:
    """Hard labels, distillation and its controls without jitter; hard and KD with jitter."""
    build = SpecBuilder(params)
    t, alpha = params.temperature, params.alpha
    grid = [Planned("q2", *rest) for rest in _roles(q1(params))]

    def add(role, arm, protocol, seeds, recipe, loss=TRUE_LABELS, teach=None, **changes):
        for seed in seeds:
            teacher = teach(seed) if teach else None
            made = build.spec(params.student_hidden, recipe, seed, loss, teacher, **changes)
            grid.append(Planned("q2", role, arm, protocol, made))

    kd_recipe = params.student_recipe_kd
    teach = build.teacher_of
    add("student", "kd", "hinton", params.seeds, kd_recipe, LossSpec.mix("kd", t, alpha), teach)
    for extra in params.extra_alphas:
        arm = "soft_only" if extra == 1 else f"kd_alpha_{extra:g}"
        add("student", arm, "hinton", params.seeds, kd_recipe, LossSpec.mix("kd", t, extra), teach)
    for mode in params.controls:
        # Label smoothing works at T = 1 by definition; all other controls share the main arm's T.
        loss = LossSpec.mix(mode, 1 if mode == "label_smoothing" else t, alpha)
        source = {"shuffled_teacher": teach, "untrained_teacher": lambda s: _untrained(teach(s))}
        add("control", mode, "hinton", params.control_seeds, kd_recipe, loss, source.get(mode))
    if "label_smoothing" in params.controls and params.smoothing != alpha:
        loss = LossSpec.mix("label_smoothing", 1, params.smoothing)
        add("control", "label_smoothing_mild", "hinton", params.control_seeds, kd_recipe, loss)
    if params.control_seeds:
        hard = params.student_recipe
        add("control", "hard_jitter", "hinton", params.control_seeds, hard, augmentation="jitter")
    course = params.jitter_recipe
    add("baseline", "hard", "jitter", params.jitter_seeds, course)
    loss = LossSpec.mix("kd", t, alpha)
    add("student", "kd", "jitter", params.jitter_seeds, course, loss, teach)
    return grid


def q3(params: p.Q3) -> list[Planned]:
    """Every temperature at every width, beside true labels at each width. ``arm`` is ``kd`` or
    ``hard``; nets are told apart by their width, which ``pair`` carries too."""
    build = SpecBuilder(params)
    grid = [Planned("q3", "teacher", "teacher", "hinton", t) for t in build.teachers()]
    for width in params.widths:
        hidden, pair = (width, width), str(width)
        widest, narrowest = width == max(params.widths), width == min(params.widths)
        extra = params.more_seeds if widest else ()
        for seed in (*params.seeds, *extra):
            hard = build.spec(hidden, params.student_recipe, seed)
            grid.append(Planned("q3", "baseline", "hard", "hinton", hard, pair))
        narrow = params.narrow_temperatures if narrowest else ()
        for t in sorted({*params.temperatures, *narrow}):
            loss = LossSpec.mix("kd", t, params.alpha)
            for seed in (*params.seeds, *(extra if t in params.more_seeds_temperatures else ())):
                teacher = build.teacher_of(seed)
                spec = build.spec(hidden, params.student_recipe_kd, seed, loss, teacher)
                grid.append(Planned("q3", "student", "kd", "hinton", spec, pair))
    return grid


def q4(params: p.Q4) -> list[Planned]:
    """Transfer sets that lack classes: distilled and on true labels, beside the whole set."""
    build = SpecBuilder(params)
    grid = [Planned("q4", "teacher", "teacher", "hinton", t) for t in build.teachers()]
    main = (params.temperature, params.alpha)
    whole: dict[str, tuple[int, ...]] = {}
    sets = [{"omit": (digit,)} for digit in params.omit_in_turn]
    if params.keep_only:
        sets.append({"keep": params.keep_only})

    def add(role, arm, temperature, alpha, transfer):
        for seed in params.seeds:
            if arm == "hard":
                spec = build.spec(params.student_hidden, params.student_recipe, seed, **transfer)
            else:
                spec = build.spec(
                    params.student_hidden,
                    params.student_recipe_kd,
                    seed,
                    LossSpec.mix("kd", temperature, alpha),
                    build.teacher_of(seed),
                    **transfer,
                )
            grid.append(Planned("q4", role, arm, "hinton", spec))

    add("baseline", "kd", *main, whole)
    add("baseline", "hard", *main, whole)
    for transfer in sets:
        add("student", "kd", *main, transfer)
        add("control", "hard", *main, transfer)
    for transfer in sets[:1] if params.omit_in_turn else []:
        for temperature in params.detail_temperatures:
            add("student", "kd", temperature, params.alpha, transfer)
        for alpha in params.detail_alphas:
            add("student", "kd", params.temperature, alpha, transfer)
    return grid


def tuning(params: p.Tuning) -> list[Planned]:
    """Every candidate recipe for the hard-label and for the distilled student."""
    build = SpecBuilder(params)
    grid = [Planned("tuning", "teacher", "teacher", "hinton", t) for t in build.teachers()]
    for name, seed in itertools.product(params.candidates, params.seeds):
        hard = build.spec(params.student_hidden, name, seed)
        loss = LossSpec.mix("kd", params.temperature, params.alpha)
        kd = build.spec(params.student_hidden, name, seed, loss, build.teacher_of(seed))
        grid.append(Planned("tuning", "baseline", "hard", "hinton", hard, pair=name))
        grid.append(Planned("tuning", "student", "kd", "hinton", kd, pair=name))
    return grid


GRIDS: dict[str, Callable[..., list[Planned]]] = {
    "q1": q1,
    "q2": q2,
    "q3": q3,
    "q4": q4,
    "tuning": tuning,
}


def _roles(grid: list[Planned]) -> Iterable[tuple[str, str, str, RunSpec]]:
    return ((x.role, x.arm, x.protocol, x.spec) for x in grid)


def _untrained(spec: RunSpec) -> RunSpec:
    return replace(spec, recipe=replace(spec.recipe, epochs=0))


def grid(question: str, params: p.Question) -> list[Planned]:
    """The runs of a question."""
    return GRIDS[question](params)


def ordered(plans: Iterable[Planned]) -> list[RunSpec]:
    """Each run once, most informative first: one seed of everything (teachers, then baselines,
    students, controls), then the next seed. A teacher always stands before its students."""
    plans = list(plans)
    ranks: dict[tuple, int] = {}
    keyed = []
    for plan in plans:
        spec = plan.spec
        kind = (plan.question, plan.role, plan.arm, plan.protocol, plan.pair)
        series = (*kind, spec.model, spec.loss, spec.data)
        ranks[series] = rank = ranks.get(series, -1) + 1
        keyed.append((rank, ROLES.index(plan.role), plan.spec))
    keyed.sort(key=lambda item: item[:2])
    result: dict[str, RunSpec] = {}
    for _, _, spec in keyed:
        for one in (spec.teacher, spec):
            if one is not None:
                result.setdefault(one.run_id, one)
    return list(result.values())


def table(question: str, params: p.Question, store: Store) -> pd.DataFrame:
    """The tidy frame of a question: one row per (question, run, role), with the headline numbers
    and the column ``record``; runs without a record have NaN and None."""
    rows = [plan.row() for plan in grid(question, params)]
    return store.with_numbers(pd.DataFrame(rows))


def publish(question: str, params: p.Question, store: Store) -> pd.DataFrame:
    """Write the question's tidy table into its profile's folder and return the frame."""
    frame = table(question, params, store)
    where = p.destination(question, params)
    store.write_table(where, question, frame.drop(columns="record"))
    return frame


def store_of(params: p.Question) -> Store:
    """The results folder that the parameters name; by default the project's ``results/``."""
    return Store(params.results_dir or p.project_root() / "results")


def measure_latency(params: p.Q1, store: Store, *, again: bool = False) -> pd.DataFrame:
    """Latency of both nets of Q1 for one image and for a batch; measured while nothing trains.

    Stored beside the question's table, and kept as long as the nets are the same. One thread on
    a CPU. Times are in seconds: median and interquartile range.
    """
    import torch

    from darkknowledge import cost, data

    path = store.exhibit_path(p.destination("q1", params), LATENCY_TABLE)
    build = SpecBuilder(params)
    nets = {
        "teacher": build.teachers()[0],
        "hard": build.spec(params.student_hidden, params.student_recipe, params.seeds[0]),
    }
    if path.exists() and not again:
        known = pd.read_csv(path)
        if set(known["run_id"]) == {spec.run_id for spec in nets.values()}:
            return known
    images = data.scaled(data.load(nets["hard"].data, params.data_root or None).test.images)
    rows = []
    for arm, spec in nets.items():
        run.execute(spec, store, params.data_root or None, need_weights=True)
        model = run.trained_network(spec, tuple(images.shape[1:]), store).to(params.device)
        for batch in (1, min(params.latency_batch, len(images))):
            part = images[:batch].to(params.device)
            timing = cost.latency(model, part, threads=1, seconds=params.latency_seconds)
            rows.append(
                {
                    "arm": arm,
                    "run_id": spec.run_id,
                    "batch": batch,
                    "threads": 1,
                    **timing,
                    "device_name": cost.device_name(params.device),
                    "torch": torch.__version__,
                }
            )
    frame = pd.DataFrame(rows)
    atomic_write(Path(path), frame.to_csv(index=False).encode())
    return frame


def complete(question: str, params: p.Question) -> pd.DataFrame:
    """Train what a question's grid lacks, write its table and return the frame; for notebooks.

    Raises RuntimeError if a run failed or could not be trained here.
    """
    from darkknowledge import workers

    store = store_of(params)
    outcome = workers.complete(ordered(grid(question, params)), store, params.data_root or None)
    frame = publish(question, params, store)
    print(
        f"{question}: {len(outcome.trained)} runs trained, {len(outcome.stored)} were stored already"
    )
    if outcome.failed:
        raise RuntimeError(next(iter(outcome.failed.values())))
    for spec in outcome.no_device:
        print(f"not trained, needs {spec.device}: {spec.label}")
    return frame
