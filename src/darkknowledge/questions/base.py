"""What all questions share: their setup, their parameters, families of arms, and the grid of runs.

A *block* is a seed with its own teacher and all its arms. A *family* is a group of arms that is trained
together; family by block is the unit of work."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from darkknowledge import config
from darkknowledge import spec as s
from darkknowledge.questions.checks import (
    Blocks,
    Count,
    Name,
    Net,
    Place,
    Temperature,
    Weight,
    check,
)
from darkknowledge.records import SETTINGS, file_sha256
from darkknowledge.spec import (
    TRUE_LABELS,
    DataSpec,
    LossSpec,
    Recipe,
    RunSpec,
    SpecError,
    data_spec,
    place,
)

#: A student of a net of its own architecture begins at another initialisation, and sees the data in
#: another order: its seed lies this far from its block's.
OTHER_SEED = 1000


#: The data set that is a folder of the user's.
OWN = "folder"
#: Parameters that say where things lie; they are no part of what is studied.
PLACES = ("profile", "data_root", "results_dir")


@dataclass(frozen=True)
class Setup:
    """An entry of ``params/setups.yaml``: data, a large and a small net, and how they are trained.

    ``recipes`` name the recipe of each net on plain images; the ``teacher`` has its own. The main arm
    distils the teacher into the ``student`` at ``temperature`` with the weight ``alpha``.

    ``dataset: folder`` are a user's own images below ``data_root``, resized to ``image_size``; their
    ``classes`` and ``fingerprint`` are written down by ``darkknowledge new``. With ``teacher_weights``, a
    .safetensors file, the teacher is given and not trained."""

    name: str
    dataset: str
    validation: Count
    precision: str
    device: str
    teacher: Net
    teacher_recipe: str
    student: Net
    recipes: dict[str, str]
    temperature: Temperature
    alpha: Weight
    data_root: Place = ""
    image_size: Count = 0
    grey: bool = False
    classes: tuple[str, ...] = ()
    fingerprint: str = ""
    teacher_weights: Place = ""

    def __post_init__(self) -> None:
        check(self)
        s.choose("dataset", self.dataset, (*s.FINGERPRINTS, OWN))
        if self.dataset == OWN and not (self.data_root and self.fingerprint and self.image_size):
            raise SpecError(
                "dataset: folder needs data_root, image_size, classes and fingerprint: let "
                "'darkknowledge new' write the setup."
            )
        if self.dataset != OWN and (self.data_root or self.image_size or self.classes):
            raise SpecError("data_root, image_size and classes belong to dataset: folder.")
        s.choose("precision", self.precision, s.PRECISIONS)
        s.choose("device", self.device, s.DEVICES)

    def run(
        self,
        net: str,
        recipe: str,
        seed: int,
        loss: LossSpec = TRUE_LABELS,
        teacher: RunSpec | None = None,
        changes: dict[str, Any] | None = None,
        **data: Any,
    ) -> RunSpec:
        """A run by the names of its net and its recipe; ``changes`` are of the recipe, ``data`` are
        fields of DataSpec."""
        model, optimisation = config.split_recipe(recipe, net)
        where = self.data(**data)
        trained = replace(optimisation, **changes or {})
        machine = self.precision, self.device
        return RunSpec(where, model, trained, seed, loss, teacher, *machine)

    def data(self, **subset: Any) -> DataSpec:
        """The data, or what ``subset``, fields of DataSpec, leaves of them."""
        if self.dataset != OWN:
            return data_spec(self.dataset, self.validation, **subset)
        own: dict[str, Any] = {
            "side": self.image_size,
            "grey": self.grey,
            "classes": len(self.classes),
        }
        return DataSpec(self.name, self.fingerprint, self.validation, **own, **subset)

    def teacher_of(self, block: int, **rest: Any) -> RunSpec:
        """The block's own teacher; where one is given, the same in all blocks."""
        if not self.teacher_weights:
            return self.run(self.teacher, self.teacher_recipe, block, **rest)
        path = place(self.teacher_weights)
        if not path.is_file():
            raise SpecError(f"teacher_weights names {path}, but there is no such file.")
        net, _ = config.split_recipe(self.teacher_recipe, self.teacher)
        untrained, machine = Recipe("sgd", 1.0, 0, 1), (self.precision, self.device)
        found = RunSpec(self.data(), net, untrained, block, TRUE_LABELS, None, *machine)
        return replace(found, given=_sha256(path, path.stat().st_mtime_ns))

    def hard(self, block: int, net: str = "", recipe: str = "", **rest: Any) -> RunSpec:
        """A net on hard labels, the small one on plain images by default."""
        net = net or self.student
        return self.run(net, recipe or self.recipe(net), block, **rest)

    def recipe(self, net: str) -> str:
        """The recipe of a net on plain images. Raises SpecError."""
        return self.recipes[s.choose("a net with a recipe in the setup", net, self.recipes)]

    def loss(
        self, t: float | None = None, alpha: float | None = None, mode: str = "kd"
    ) -> LossSpec:
        """The main arm's loss, or one of another temperature, weight or mode."""
        weight = self.alpha if alpha is None else alpha
        return LossSpec.mix(mode, self.temperature if t is None else t, weight)

    def taught(
        self, block: int, loss: LossSpec | None = None, net: str = "", recipe: str = "", **rest: Any
    ) -> RunSpec:
        """A net that learns from the block's own teacher, or from the run ``teacher``."""
        rest.setdefault("teacher", self.teacher_of(block))
        net = net or self.student
        return self.run(net, recipe or self.recipe(net), block, loss or self.loss(), **rest)


@functools.lru_cache(maxsize=8)
def _sha256(path: Path, changed: int) -> str:
    """The checksum of a file, computed once as long as it stays as it is."""
    return file_sha256(path)


def setup_of(name: str) -> Setup:
    """The setup of that name in ``params/setups.yaml``, or in a profile's own file. Raises SpecError."""
    settings = config.entry("setup", name)
    known = [f.name for f in fields(Setup)][1:]
    due = [f.name for f in fields(Setup)[1:] if f.default is MISSING]
    config.complete(f"setup {name!r}", settings, known, due)
    try:
        return Setup(name=name, **settings)
    except SpecError as error:
        raise SpecError(f"The setup {name!r}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameters that all questions share; defaults are the quick profile's. ``blocks`` are the
    seeds of the first family; each other family takes the first n of them, by its own ``n_…``."""

    profile: Name = "quick"
    data_root: Place = ""
    results_dir: Place = ""
    setup: str = "quick-digits"
    blocks: Blocks = (0, 1, 2, 3, 4)

    def __post_init__(self) -> None:
        check(self)
        for name in (f.name for f in fields(self) if f.name.startswith("n_")):
            if (n := getattr(self, name)) > len(self.blocks):
                raise SpecError(f"{name} is {n}, but there are only {len(self.blocks)} blocks.")
        for name in (f.name for f in fields(self) if f.name.endswith("setup")):
            setup_of(getattr(self, name))

    @functools.cached_property
    def nets(self) -> Setup:
        """The setup that the question is asked in."""
        return setup_of(self.setup)

    def settings(self) -> dict[str, Any]:
        """What is studied: all parameters but the places."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in PLACES}


#: The arms of one block of a family, by name; a teacher comes by itself, before its first student.
Arms = Iterator[tuple[str, RunSpec]]


@dataclass(frozen=True)
class Family:
    """Arms that are trained together. ``blocks``: how many of the question's. What a ``primary`` claim
    rests on is trained before anything else."""

    name: str
    arms: Callable[[Any, int], Arms]
    blocks: int
    primary: bool = False


@dataclass(frozen=True)
class Planned:
    """A run, and its part in a question."""

    question: str
    family: str
    arm: str
    block: int
    spec: RunSpec
    primary: bool = field(default=False, compare=False)

    @property
    def role(self) -> str:
        """``teacher``, ``baseline`` (hard labels), ``student`` or ``control`` (no teacher's soft
        labels as they are)."""
        if self.arm.startswith("teacher"):
            return "teacher"
        modes = {"hard": "baseline", "kd": "student"}
        return modes.get(self.spec.loss.mode, "control")

    def row(self) -> dict[str, object]:
        """The planned part of the run's row in the tidy table."""
        spec, teacher = self.spec, self.spec.teacher
        own = ("question", "family", "role", "arm", "block")
        return {
            **{name: getattr(self, name) for name in own},
            "protocol": "clean" if spec.recipe.augmentation == "none" else "augmented",
            "pair": f"{teacher.model.label}>{spec.model.label}" if teacher else "",
            **{name: setting(spec) for name, setting in SETTINGS.items()},
            "run_id": spec.run_id,
            "teacher_run_id": teacher.run_id if teacher else "",
        }


def families(arms: Iterable[Callable[[Any, int], Arms]], params: Parameters) -> list[Family]:
    """Families by the functions that make their arms, whose names they have: the first is primary and
    has all blocks, each other one as many as its parameter ``n_…`` says."""
    first, *others = arms
    numbers = {make: getattr(params, f"n_{make.__name__}") for make in others}
    rest = [Family(make.__name__, make, number) for make, number in numbers.items()]
    return [Family(first.__name__, first, len(params.blocks), primary=True), *rest]


def grid(question: str, families: Iterable[Family], params: Parameters) -> list[Planned]:
    """All runs of a question, family by family and block by block, each once and after its teacher."""
    found: dict[str, Planned] = {}
    for family in families:
        for block in params.blocks[: family.blocks]:
            for arm, spec in family.arms(params, block):
                line = [(arm, spec)]
                while (teacher := line[-1][1].teacher) is not None:
                    line.append(("teacher", teacher))
                for name, one in reversed(line):
                    planned = Planned(question, family.name, name, block, one, family.primary)
                    found.setdefault(one.run_id, planned)
    return list(found.values())


def ordered(grids: Iterable[list[Planned]]) -> list[Planned]:
    """The runs of several questions, each once, in the order of training: a block is whole in all
    primary families before the next one is begun; then the other families, one after the other."""
    every = list(itertools.chain.from_iterable(grids))
    first = [one for one in every if one.primary]
    place = {b: i for i, b in enumerate(dict.fromkeys(one.block for one in first))}
    first.sort(key=lambda one: place[one.block])  # stable: questions keep their order
    rest = [one for one in every if not one.primary]
    found: dict[str, Planned] = {}
    for one in (*first, *rest):
        found.setdefault(one.spec.run_id, one)
    return list(found.values())
