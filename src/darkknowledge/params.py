"""The parameters of each question: their names and types, their files, and what is refused.

A profile is a folder of YAML under ``params/``; a notebook's parameters cell mirrors the same
names. Parameters stay flat (scalars and lists). Imports no torch.
"""

from __future__ import annotations

import difflib
import functools
import types
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from darkknowledge import spec as s
from darkknowledge.spec import SpecError
from darkknowledge.worlds import World

#: Parameters that say where things lie; they are no part of what is studied.
PLACES = ("profile", "data_root", "results_dir")
#: The profile whose paper is published: the first edition, until the second one has its records.
PUBLISHED = "pilot"
#: The largest file of parameters, and the most aliases that one may have.
MAX_BYTES, MAX_ALIASES = 100_000, 30


def project_root() -> Path:
    """The folder that holds ``params/recipes.yaml``: the working directory or one above it, else the
    checkout that this package lies in. Raises SpecError if there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "params" / "recipes.yaml").is_file():
            return folder
    raise SpecError("No params/recipes.yaml here or above: call this inside the project's folder.")


class _Loader(yaml.SafeLoader):
    """Safe, and with so few aliases that no small file can stand for a gigantic value."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.aliases > MAX_ALIASES:
            raise SpecError(f"More than {MAX_ALIASES} aliases stand in one file of parameters.")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, read safely. Raises SpecError with the place of the error."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(f"{path} is larger than {MAX_BYTES} bytes: it holds no parameters.")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise SpecError(f"There is no file {path}.") from None
    except RecursionError:
        raise SpecError(f"{path} is nested too deeply to hold parameters.") from None
    # A value such as 0x_ or !!bool x ends in any of the last three.
    except (yaml.YAMLError, OSError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, SpecError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise SpecError(f"{path} is not readable YAML: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise SpecError(f"{path} must hold a mapping of names to values.")
    return content


def _book(name: str) -> dict[str, Any]:
    """A file that all questions share, parsed once as long as it stays as it is."""
    path = project_root() / "params" / name
    try:
        found = path.stat()
    except OSError:
        return read_yaml(path)
    return _parsed(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=8)
def _parsed(path: Path, *state: int) -> dict[str, Any]:
    return read_yaml(path)


def recipe(name: str) -> dict[str, Any]:
    """The settings that ``params/recipes.yaml`` keeps under ``name``. Raises SpecError."""
    book = _book("recipes.yaml")
    s.choose("recipe", name, book)
    if not isinstance(book[name], dict):
        raise SpecError(f"The recipe {name!r} must be a mapping of settings to values.")
    return book[name]


def world(name: str) -> dict[str, Any]:
    """The settings that ``params/worlds.yaml`` keeps under ``name``. Raises SpecError."""
    book = _book("worlds.yaml")
    s.choose("world", name, book)
    if not isinstance(book[name], dict):
        raise SpecError(f"The world {name!r} must be a mapping of settings to values.")
    for setting in book[name]:
        s.choose(f"a setting of world {name!r}", setting, [f.name for f in fields(World)])
    return dict(book[name])


def split_recipe(name: str, net: str) -> tuple[s.ModelSpec, s.Recipe]:
    """The net of that label (``mlp-800-800``, ``resnet20``) with the recipe's dropout, and the
    optimisation that the recipe's name stands for. Raises SpecError."""
    settings = recipe(name)
    dropout = {k: settings[k] for k in ("dropout_input", "dropout_hidden") if k in settings}
    rest = {k: v for k, v in settings.items() if k not in dropout}
    known = [f.name for f in fields(s.Recipe)]
    for key in rest:
        s.choose(f"a setting of recipe {name!r}", key, [*known, "dropout_input", "dropout_hidden"])
    for key in ("optimiser", "lr", "epochs", "batch_size"):
        if key not in rest:
            raise SpecError(f"The recipe {name!r} does not say its {key}.")
    return s.ModelSpec.named(net, **dropout), s.Recipe(**rest)


@dataclass(frozen=True)
class Anything:
    """What the parameters of every question share."""

    profile: str = "quick"
    data_root: str = ""
    results_dir: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("profile", *(f.name for f in fields(self) if "_recipe" in f.name)):
            if not getattr(self, name):
                raise SpecError(f"{name} is empty, but must be a name.")
        s.plain("profile", self.profile)

    def settings(self) -> dict[str, Any]:
        """What is studied: all parameters but the places."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in PLACES}


@dataclass(frozen=True)
class Question(Anything):
    """What the parameters of Q1 to Q4 share. The defaults are the quick profile's."""

    dataset: str = "mnist5k"
    validation: int = 500
    teacher_hidden: tuple[int, ...] = (300, 300)
    teacher_recipe: str = "quick-teacher"
    teacher_seeds: tuple[int, ...] = (100, 101, 102, 103, 104)
    student_recipe: str = "quick-student"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    precision: str = "fp32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        s.choose("dataset", self.dataset, s.DATASETS)
        s.choose("precision", self.precision, s.PRECISIONS)
        s.choose("device", self.device, s.DEVICES)
        s.integer("validation", self.validation, 1)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("seeds"):
                s.distinct(field.name, s.integers(field.name, value))
            elif field.name.endswith("_hidden"):
                s.integers(field.name, value, 1)
        for name in ("teacher_seeds", "seeds"):
            if not getattr(self, name):
                raise SpecError(f"{name} is empty: name at least one seed.")
        shared = set(self.teacher_seeds) & set(self.seeds)
        if shared:
            raise SpecError(
                f"seed {min(shared)} is both a teacher's and a student's: keep them disjoint."
            )


@dataclass(frozen=True)
class Q1(Question):
    """Q1, a cumbersome and a small net on true labels."""

    student_hidden: tuple[int, ...] = (100, 100)
    latency_batch: int = 256
    latency_seconds: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        s.integer("latency_batch", self.latency_batch, 1)
        s.positive("latency_seconds", self.latency_seconds)


@dataclass(frozen=True)
class Q2(Question):
    """Q2, normal distillation beside its controls, with and without jitter for the student."""

    student_hidden: tuple[int, ...] = (100, 100)
    student_recipe_kd: str = "quick-student"
    temperature: float = 4.0
    alpha: float = 0.9
    extra_alphas: tuple[float, ...] = (1.0,)
    controls: tuple[str, ...] = (
        "label_smoothing",
        "uniform_teacher",
        "tfkd_reg",
        "shuffled_teacher",
        "permuted_teacher",
        "untrained_teacher",
    )
    smoothing: float = 0.1
    budget_epochs: int = 0
    control_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    jitter_recipe: str = "quick-jitter"
    jitter_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        s.positive("temperature", self.temperature)
        s.number("alpha", self.alpha, 0, 1)
        s.number("smoothing", self.smoothing, 0, 1)
        s.integer("budget_epochs", self.budget_epochs)
        _weights("extra_alphas", self.extra_alphas)
        s.distinct("extra_alphas", (self.alpha, *self.extra_alphas))
        for name in s.distinct("controls", self.controls):
            s.choose("a control", name, [m for m in s.MODES if m not in ("hard", "kd")])
        for name in ("control_seeds", "jitter_seeds"):
            extra = set(getattr(self, name)) - set(self.seeds)
            if extra:
                raise SpecError(f"{name} names {min(extra)}, which is not among the seeds.")


@dataclass(frozen=True)
class Q3(Question):
    """Q3, every temperature at every width; some temperatures only at the narrowest width, and
    further seeds for the widest at the temperatures of ``more_seeds_temperatures``."""

    student_recipe_kd: str = "quick-student"
    alpha: float = 0.9
    widths: tuple[int, ...] = (100, 30)
    temperatures: tuple[float, ...] = (0.5, 1.0, 2.5, 4.0, 8.0, 20.0)
    narrow_temperatures: tuple[float, ...] = ()
    more_seeds: tuple[int, ...] = ()
    more_seeds_temperatures: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        s.number("alpha", self.alpha, 0, 1)
        if not self.widths:
            raise SpecError("widths is empty: name at least one hidden width.")
        s.distinct("widths", s.integers("widths", self.widths, 1))
        if not self.temperatures:
            raise SpecError("temperatures is empty: name at least one temperature.")
        for name in ("temperatures", "narrow_temperatures", "more_seeds_temperatures"):
            for i, value in enumerate(getattr(self, name)):
                s.positive(f"{name}[{i}]", value)
            s.distinct(name, getattr(self, name))
        shared = set(self.more_seeds) & {*self.seeds, *self.teacher_seeds}
        if shared:
            raise SpecError(f"more_seeds names {min(shared)}, which is a seed already.")


@dataclass(frozen=True)
class Q4(Question):
    """Q4, transfer sets without a digit (each of ``omit_in_turn``; the first of them is studied in
    detail), and one that keeps only the classes of ``keep_only`` (by a recipe of its own, as it is
    much smaller)."""

    student_hidden: tuple[int, ...] = (100, 100)
    student_recipe_kd: str = "quick-student"
    student_recipe_keep: str = "quick-few-classes"
    temperature: float = 4.0
    alpha: float = 1.0
    omit_in_turn: tuple[int, ...] = (3, 7)
    keep_only: tuple[int, ...] = (7, 8)
    detail_temperatures: tuple[float, ...] = (1.0,)
    detail_alphas: tuple[float, ...] = (0.9,)

    def __post_init__(self) -> None:
        super().__post_init__()
        s.positive("temperature", self.temperature)
        s.number("alpha", self.alpha, 0, 1)
        for i, value in enumerate(self.detail_temperatures):
            s.positive(f"detail_temperatures[{i}]", value)
        s.distinct("detail_temperatures", (self.temperature, *self.detail_temperatures))
        _weights("detail_alphas", self.detail_alphas)
        s.distinct("detail_alphas", (self.alpha, *self.detail_alphas))
        if not self.omit_in_turn and not self.keep_only:
            raise SpecError("omit_in_turn and keep_only are both empty: nothing would be omitted.")
        for name in ("omit_in_turn", "keep_only"):
            s.distinct(name, s.integers(name, getattr(self, name)))
            # One validated DataSpec a transfer set: refuses classes that do not exist.
            for digit in getattr(self, name):
                s.DataSpec(self.dataset, "any", self.validation, omit=(digit,))
        if len(self.keep_only) == s.DataSpec(self.dataset, "any", self.validation).classes:
            raise SpecError("keep_only names all classes, so no digit would be omitted.")


@dataclass(frozen=True)
class Networks(Anything):
    """What Q5 and Q6 share: worlds of ``params/worlds.yaml``, one for each pair or net.

    ``temperatures`` and ``seeds``, where not empty, take the place of every world's own.
    """

    worlds: tuple[str, ...] = ("quick-rgb", "quick-digits")
    temperatures: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settled()

    def settled(self) -> list[World]:
        """The worlds in order, with the overriding parameters in place. Raises SpecError."""
        found = []
        for name in self.worlds:
            settings = world(name)
            if self.temperatures:
                settings["temperatures"] = self.temperatures
            if self.seeds:
                settings["seeds"] = self.seeds
            try:
                if self.seeds:
                    own = s.integers("control_seeds", settings.get("control_seeds"))
                    settings["control_seeds"] = [x for x in own if x in self.seeds]
                found.append(World(**settings))
            except (SpecError, TypeError) as error:
                raise SpecError(f"The world {name!r}: {error}") from None
        return found

    def _one_world_each(self, name: str) -> None:
        count = len(s.distinct(name, getattr(self, name)))
        if not count:
            raise SpecError(f"{name} is empty, so nothing would be studied.")
        if count != len(self.worlds):
            raise SpecError(f"worlds must name one world for each of the {count} {name}.")


@dataclass(frozen=True)
class Q5(Networks):
    """Q5, reversed distillation: in each pair ``weak>strong`` the weak net teaches the strong one."""

    pairs: tuple[str, ...] = (
        "plain_cnn-2-4-4>plain_cnn-8-8-16",
        "mlp-30-30>mlp-100-100",
    )
    element_mean_alphas: tuple[float, ...] = (0.1, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_world_each("pairs")
        for pair in self.pairs:
            weak, strong = nets_of(pair)
            if weak == strong:
                raise SpecError(
                    f"The pair {s.shown(pair)} is one net twice: that is Q6's question."
                )
        if len(self.element_mean_alphas) != len(self.pairs):
            raise SpecError("element_mean_alphas must have one number for each pair (0 for none).")
        _weights("element_mean_alphas", self.element_mean_alphas)


@dataclass(frozen=True)
class Q6(Networks):
    """Q6, self distillation: each net learns from a trained net of its own kind."""

    nets: tuple[str, ...] = ("plain_cnn-8-8-16", "mlp-100-100")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_world_each("nets")
        for net in self.nets:
            s.ModelSpec.named(net)


def nets_of(pair: str) -> tuple[str, str]:
    """The two nets of ``weak>strong``. Raises SpecError."""
    weak, sign, strong = pair.partition(">")
    if not sign:
        raise SpecError(
            f"The pair {s.shown(pair)} must be written weak>strong, as resnet8>resnet20."
        )
    for net in (weak, strong):
        s.ModelSpec.named(net)
    return weak, strong


@dataclass(frozen=True)
class Q7(Question):
    """The discussion: what in the soft labels helps, and what of it reaches the student.

    ``few_seeds`` are those of the dear arms: students that see jittered inputs (also for ``longer``
    times the epochs), and teachers trained with label smoothing.
    """

    student_hidden: tuple[int, ...] = (100, 100)
    student_recipe_kd: str = "quick-student"
    temperature: float = 4.0
    alpha: float = 0.9
    smoothing: float = 0.1
    parts_temperature: float = 4.0
    longer: int = 2
    few_seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "parts_temperature"):
            s.positive(name, getattr(self, name))
        for name in ("alpha", "smoothing"):
            s.number(name, getattr(self, name), 0, 1)
        s.integer("longer", self.longer, 2)
        if extra := set(self.few_seeds) - set(self.seeds):
            raise SpecError(f"few_seeds names {min(extra)}, which is not among the seeds.")


@dataclass(frozen=True)
class Tuning(Question):
    """The search for the students' recipe on validation: every candidate for every arm."""

    student_hidden: tuple[int, ...] = (800, 800)
    temperature: float = 20.0
    alpha: float = 0.9
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        s.positive("temperature", self.temperature)
        s.number("alpha", self.alpha, 0, 1)
        s.distinct("candidates", self.candidates)


def _weights(name: str, values: tuple[float, ...]) -> None:
    for i, value in enumerate(values):
        s.number(f"{name}[{i}]", value, 0, 1)


QUESTIONS: dict[str, type[Anything]] = {
    "q1": Q1,
    "q2": Q2,
    "q3": Q3,
    "q4": Q4,
    "q5": Q5,
    "q6": Q6,
    "q7": Q7,
    "tuning": Tuning,
}
#: It asks for the recipes of the others, and is counted apart from them.
SEARCH = "tuning"


def make(question: str, values: dict[str, Any]) -> Anything:
    """The parameters of a question from plain values; unknown names are refused. Raises SpecError."""
    kind = QUESTIONS[s.choose("question", question, QUESTIONS)]
    known = [f.name for f in fields(kind)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."
            raise SpecError(f"{question} has no parameter {s.shown(name)}: {hint}")
    return kind(**values)


def read(profile: str, question: str) -> Anything:
    """The parameters of a question in a profile, from its YAML file. Raises SpecError."""
    s.choose("question", question, QUESTIONS)
    path = _folder(profile) / f"{question}.yaml"
    questions_of(profile)
    try:
        return make(question, read_yaml(path))
    except SpecError as error:
        place = "" if str(path) in str(error) else f"{path}: "
        raise SpecError(f"{place}{error}") from None


def _folder(profile: str) -> Path:
    """The folder of a profile's files. Raises SpecError for a name that would lead elsewhere."""
    return project_root() / "params" / s.plain("profile", profile)


def questions_of(profile: str) -> list[str]:
    """The questions that a profile has a file for, in order. Raises SpecError if there is none."""
    folder = _folder(profile)
    found = [q for q in QUESTIONS if (folder / f"{q}.yaml").is_file()]
    if not found:
        profiles = sorted(p.name for p in folder.parent.iterdir() if p.is_dir())
        s.choose("profile", profile, profiles)
        if (folder / "plan.yaml").is_file():
            raise SpecError(
                f"The profile {profile!r} is a plan, which has no notebooks and no report yet: call "
                f"'darkknowledge train {profile}', or see the published profile {PUBLISHED!r}."
            )
        raise SpecError(f"The profile {profile!r} has no question: {folder} holds no q1.yaml ….")
    return found


def from_notebook(question: str, namespace: dict[str, Any]) -> Anything:
    """The parameters that a notebook's cells have set.

    Papermill injects unknown parameters as plain variables and only logs them; here every variable
    of a plain type that is no parameter is refused. Where the cells run again in the same kernel,
    whatever their user has defined meanwhile is left alone, unless it looks like a misspelt
    parameter. Raises SpecError.
    """
    ignored = {"In", "Out", "papermill_description"}
    plain = (str, int, float, list, tuple, set, dict, types.NoneType)
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in ignored and isinstance(value, plain)
    }
    if any(isinstance(value, Anything) for value in namespace.values()):  # of the time before
        known = [f.name for f in fields(QUESTIONS[question])]
        values = {
            name: value
            for name, value in values.items()
            if name in known or difflib.get_close_matches(name, known)
        }
    return make(question, values)


def destination(question: str, params: Anything) -> str:
    """The profile that a question's table belongs to: the named one, or ``custom`` if that is a
    shipped profile and the parameters differ from its file."""
    path = _folder(params.profile) / f"{question}.yaml"
    if not path.is_file():
        return params.profile
    same = read(params.profile, question).settings() == params.settings()
    return params.profile if same else "custom"


def strays(profile: str, chosen: dict[str, Anything]) -> list[str]:
    """One sentence for each question of a profile whose file names another profile."""
    return [
        f"params/{profile}/{question}.yaml says profile: {params.profile}, so its table goes to "
        f"results/{destination(question, params)}/: write profile: {profile} there."
        for question, params in chosen.items()
        if params.profile != profile
    ]


def _check_types(params: Anything) -> None:
    """Coerce lists to tuples and ints to floats where a float is due; refuse everything else."""
    for field in fields(params):
        value = getattr(params, field.name)
        default = field.default
        if isinstance(default, tuple):
            if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
                hint = " (with papermill: -y '{seeds: [1, 2]}', not -p)"
                raise SpecError(
                    f"{field.name} is {s.shown(value)}, but must be a list"
                    f"{hint if isinstance(value, str) else ''}."
                )
            if "float" in str(field.type):
                value = tuple(s.number(f"{field.name}[{i}]", v) for i, v in enumerate(value))
            elif "str" in str(field.type) and not all(isinstance(v, str) for v in value):
                raise SpecError(f"{field.name} is {s.shown(value)}, but must be a list of names.")
            object.__setattr__(params, field.name, tuple(value))
        elif isinstance(default, float):
            object.__setattr__(params, field.name, s.number(field.name, value))
        elif isinstance(default, int):
            s.integer(field.name, value)
        elif not isinstance(value, str):
            raise SpecError(f"{field.name} is {s.shown(value)}, but must be a text.")
