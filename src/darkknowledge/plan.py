"""The study's plan: families of arms, block by block, in the order in which they are trained.

A *block* is a seed with its own teacher and all its arms; *family × block* is the unit of work.
:func:`order` is the order of training, and a run that several families need belongs to the first of
them. What is trained is written here and in ``params/<profile>/plan.yaml``; how it is
judged, in ``report/analysis-plan.md``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_origin, get_type_hints

from darkknowledge import params as p
from darkknowledge import spec as s
from darkknowledge.grids import Planned
from darkknowledge.records import Store
from darkknowledge.spec import TRUE_LABELS, LossSpec, RunSpec, SpecError, data_spec

PLAN = "plan"
#: A student of a net of its own architecture begins at another initialisation, and sees the data in
#: another order: its seed lies this far from its block's.
OTHER_SEED = 1000
DIGITS = tuple(range(10))


@dataclass(frozen=True)
class Plan:
    """The parameters of ``params/<profile>/plan.yaml``: data, nets, recipes, and what the search for
    recipes chose. ``blocks`` are the seeds; a family takes the first n of them, by ``n``."""

    profile: str
    blocks: tuple[int, ...]
    n: dict[str, int]
    precision: str
    device: str
    validation: int
    # MNIST
    digits: str
    teacher: str
    teacher_recipe: str
    student: str
    plain_recipes: dict[str, str]
    jitter_recipe: str
    two_digits_recipe: str
    few_recipes: dict[str, str]
    augmented_recipes: dict[str, str]
    temperature: float
    alpha: float
    smoothing: float
    virtual_teacher: tuple[float, float]
    temperatures: tuple[float, ...]
    core_temperatures: tuple[float, ...]
    widths: tuple[str, ...]
    pair_alpha: float
    pair_alphas: tuple[float, ...]
    pair_temperature: float
    pair_temperatures: tuple[float, ...]
    schedules: tuple[float, ...]
    budget_epochs: int
    # CIFAR-10
    images: str
    weak: str
    strong: str
    cifar_recipe: str
    cifar_temperature: float
    cifar_other_temperature: float
    cifar_alphas: tuple[float, ...]
    weak_teacher_alpha: float
    own_teacher_alpha: float
    strong_teacher_alpha: float
    cifar_smoothing: float
    cifar_virtual_teacher: tuple[float, float]
    data_root: str = ""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            object.__setattr__(self, name, _typed(name, getattr(self, name), kind))
        s.plain("profile", self.profile)
        s.distinct("blocks", self.blocks)
        for name in FAMILIES:
            if not 0 <= self.n.get(name, -1) <= len(self.blocks):
                raise SpecError(
                    f"n must say for the family {name!r} how many of the {len(self.blocks)} blocks "
                    "it takes."
                )
        for name in self.n:
            s.choose("a family of n", name, FAMILIES)

    # -- specs ---------------------------------------------------------------------------------

    def run(
        self,
        dataset: str,
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
        model, optimisation = _split(recipe, net)
        return RunSpec(
            data=data_spec(dataset, self.validation, **data),
            model=model,
            recipe=replace(optimisation, **changes or {}),
            seed=seed,
            loss=loss,
            teacher=teacher,
            precision=self.precision,
            device=self.device,
        )

    def teacher_of(self, block: int, **data: Any) -> RunSpec:
        """The block's own teacher on MNIST."""
        return self.run(self.digits, self.teacher, self.teacher_recipe, block, **data)

    def hard(self, block: int, net: str = "", **rest: Any) -> RunSpec:
        """A plain net on MNIST's hard labels; the small net if none is named."""
        net = net or self.student
        return self.run(self.digits, net, self.plain_recipes[net], block, **rest)

    def kd(self, t: float = 0.0, alpha: float = -1.0, mode: str = "kd") -> LossSpec:
        """The main arm's loss on MNIST, or one of another temperature, weight or mode."""
        return LossSpec.mix(mode, t or self.temperature, self.alpha if alpha < 0 else alpha)

    def taught(
        self, block: int, loss: LossSpec, net: str = "", recipe: str = "", **rest: Any
    ) -> RunSpec:
        """A net on MNIST that learns from the block's own teacher, or from ``teacher``."""
        rest.setdefault("teacher", self.teacher_of(block))
        net = net or self.student
        return self.run(self.digits, net, recipe or self.plain_recipes[net], block, loss, **rest)

    def cifar(self, net: str, seed: int, *loss_and_teacher: Any, **rest: Any) -> RunSpec:
        """A net on CIFAR-10; all share one recipe."""
        return self.run(self.images, net, self.cifar_recipe, seed, *loss_and_teacher, **rest)


# Recipes are read once per process: the plan asks for the same few names hundreds of times.
@functools.lru_cache(maxsize=64)
def _split(recipe: str, net: str) -> tuple[s.ModelSpec, s.Recipe]:
    return p.split_recipe(recipe, net)


def _typed(name: str, value: Any, kind: Any) -> Any:
    """``value`` as its annotation says: text, number, tuple or mapping. Raises SpecError."""
    if kind is int:
        return s.integer(name, value)
    if kind is float:
        return s.number(name, value)
    if kind is str:
        if not isinstance(value, str):
            raise SpecError(f"{name} is {s.shown(value)}, but must be a text.")
        return value
    of = get_args(kind)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{name} is {s.shown(value)}, but must be a mapping.")
        return {str(key): _typed(f"{name}[{key}]", item, of[1]) for key, item in value.items()}
    if not isinstance(value, list | tuple) or (of[-1] is not ... and len(value) != len(of)):
        raise SpecError(
            f"{name} is {s.shown(value)}, but must be a list, as long as its kind says."
        )
    return tuple(_typed(f"{name}[{i}]", item, of[0]) for i, item in enumerate(value))


#: The arms of one block of a family, by name.
Arms = Iterator[tuple[str, RunSpec]]


def core(plan: Plan, block: int) -> Arms:
    """Q1, Q2, Q3 and the discussion: teacher, small net with the teacher's augmentation, small net
    plain, distilled at the main temperatures, and with the teacher's confidence only."""
    yield "teacher", plan.teacher_of(block)
    recipe = plan.augmented_recipes[plan.student]
    yield "hard_augmented", plan.run(plan.digits, plan.student, recipe, block)
    yield "hard", plan.hard(block)
    for t in plan.core_temperatures:
        yield f"kd_T{t:g}", plan.taught(block, plan.kd(t))
    yield "confidence_only", plan.taught(block, plan.kd(mode="confidence_only"))


def cifar(plan: Plan, block: int) -> Arms:
    """Q5, Q6 and forward distillation on CIFAR-10. The strong net that learns from its own kind
    learns from the block's own net on hard labels: "better than hard labels" and "better than its
    teacher" are one number."""
    weak, strong = plan.cifar(plan.weak, block), plan.cifar(plan.strong, block)
    yield "weak_hard", weak
    yield "strong_hard", strong
    t = plan.cifar_temperature
    yield (
        "strong_by_weak",
        plan.cifar(plan.strong, block, LossSpec.mix("kd", t, plan.weak_teacher_alpha), weak),
    )
    yield (
        "strong_by_own",
        plan.cifar(
            plan.strong,
            block + OTHER_SEED,
            LossSpec.mix("kd", t, plan.own_teacher_alpha),
            strong,
        ),
    )
    yield (
        "weak_by_strong",
        plan.cifar(plan.weak, block, LossSpec.mix("kd", t, plan.strong_teacher_alpha), strong),
    )


def omitted(plan: Plan, block: int) -> Arms:
    """Q4: the distilled net with each digit in turn left out of its transfer set."""
    for digit in DIGITS:
        yield f"kd_without_{digit}", plan.taught(block, plan.kd(), omit=(digit,))


def two_digits(plan: Plan, block: int) -> Arms:
    """Q4: a transfer set of sevens and eights only."""
    only: dict[str, Any] = {"keep": (7, 8)}
    recipe = plan.two_digits_recipe
    yield "kd_7_8", plan.taught(block, plan.kd(), recipe=recipe, **only)
    yield "hard_7_8", plan.run(plan.digits, plan.student, recipe, block, **only)


def omitted_control(plan: Plan, block: int) -> Arms:
    """Q4's control: hard labels with each digit in turn left out."""
    for digit in DIGITS:
        yield f"hard_without_{digit}", plan.hard(block, omit=(digit,))


def rivals(plan: Plan, block: int) -> Arms:
    """Q2: soft labels only, permuted soft labels, and the tuned forms that need no teacher."""
    yield "soft_only", plan.taught(block, plan.kd(alpha=1))
    yield "permuted_teacher", plan.taught(block, plan.kd(mode="permuted_teacher"))
    smoothing = LossSpec.mix("label_smoothing", 1, plan.smoothing)
    yield "label_smoothing", plan.taught(block, smoothing, teacher=None)
    virtual = LossSpec.mix("tfkd_reg", *plan.virtual_teacher)
    yield "tfkd_reg", plan.taught(block, virtual, teacher=None)


def jittered(plan: Plan, block: int) -> Arms:
    """Q2: the student sees jittered images itself, on hard labels and distilled on the same view."""
    yield "hard_jitter", plan.run(plan.digits, plan.student, plan.jitter_recipe, block)
    yield "kd_jitter", plan.taught(block, plan.kd(), recipe=plan.jitter_recipe)


def sizes(plan: Plan, block: int) -> Arms:
    """Q1: other widths, plain."""
    for net in (*plan.widths, plan.teacher):
        yield f"hard_{net}", plan.hard(block, net)


def augmented_sizes(plan: Plan, block: int) -> Arms:
    """Q1: other widths with the teacher's augmentation, their dropout chosen on validation."""
    for net in plan.widths:
        yield f"augmented_{net}", plan.run(plan.digits, net, plan.augmented_recipes[net], block)


def temperatures(plan: Plan, block: int) -> Arms:
    """Q3: all temperatures at the other widths, and at the small net's what the core leaves out."""
    for net in (plan.student, plan.widths[-1], plan.widths[0]):
        for t in plan.temperatures:
            if net != plan.student or t not in plan.core_temperatures:
                yield f"kd_{net}_T{t:g}", plan.taught(block, plan.kd(t), net)


def pairs(plan: Plan, block: int) -> Arms:
    """Q5 and Q6 on MNIST: a narrow plain net and one of its own kind teach the small net, at three
    weights. The student of its own kind starts from another initialisation."""
    yield from _pairs(plan, block, [(plan.pair_temperature, a) for a in plan.pair_alphas])


def pair_temperatures(plan: Plan, block: int) -> Arms:
    """Q5 and Q6 on MNIST: other temperatures at the weight chosen on validation."""
    yield from _pairs(plan, block, [(t, plan.pair_alpha) for t in plan.pair_temperatures])


def _pairs(plan: Plan, block: int, settings: list[tuple[float, float]]) -> Arms:
    narrow, own = plan.hard(block, plan.widths[0]), plan.hard(block)
    for t, alpha in settings:
        loss, words = plan.kd(t, alpha), f"T{t:g}_a{alpha:g}"
        yield f"by_narrow_{words}", plan.taught(block, loss, teacher=narrow)
        yield f"by_own_{words}", plan.taught(block + OTHER_SEED, loss, teacher=own)


def cifar_weights(plan: Plan, block: int) -> Arms:
    """Q5 and Q6 on CIFAR-10: the other weights, and another temperature at the chosen one."""
    weak, strong = plan.cifar(plan.weak, block), plan.cifar(plan.strong, block)
    for name, teacher, seed, chosen in (
        ("by_weak", weak, block, plan.weak_teacher_alpha),
        ("by_own", strong, block + OTHER_SEED, plan.own_teacher_alpha),
    ):
        settings = [(plan.cifar_temperature, a) for a in plan.cifar_alphas if a != chosen]
        for t, alpha in [*settings, (plan.cifar_other_temperature, chosen)]:
            loss = LossSpec.mix("kd", t, alpha)
            yield f"{name}_T{t:g}_a{alpha:g}", plan.cifar(plan.strong, seed, loss, teacher)


def cifar_rivals(plan: Plan, block: int) -> Arms:
    """Q5 and Q6 on CIFAR-10: the tuned forms that need no teacher."""
    smoothing = LossSpec.mix("label_smoothing", 1, plan.cifar_smoothing)
    yield "strong_label_smoothing", plan.cifar(plan.strong, block, smoothing)
    yield "weak_label_smoothing", plan.cifar(plan.weak, block, smoothing)
    virtual = LossSpec.mix("tfkd_reg", *plan.cifar_virtual_teacher)
    yield "strong_tfkd_reg", plan.cifar(plan.strong, block, virtual)


def parts(plan: Plan, block: int) -> Arms:
    """Why: the parts of the divergence alone, and both re-weighted."""
    for mode in ("target_part", "nontarget_part", "decoupled"):
        yield mode, plan.taught(block, plan.kd(mode=mode))


def quality(plan: Plan, block: int) -> Arms:
    """Why: teachers that were trained for a share of the schedule, annealed to its own end, and
    their students."""
    whole = plan.teacher_of(block)
    for share in plan.schedules:
        epochs = max(1, round(share * whole.recipe.epochs))
        teacher = replace(whole, recipe=replace(whole.recipe, epochs=epochs))
        yield f"teacher_{share:g}", teacher
        yield f"kd_teacher_{share:g}", plan.taught(block, plan.kd(), teacher=teacher)


def unfamiliar(plan: Plan, block: int) -> Arms:
    """Why: a teacher trained on one half of the images teaches on that half and on the other; hard
    labels on the other half."""
    half: dict[str, Any] = {"share": 0.5, "draw": block}
    teacher = plan.teacher_of(block, **half)
    yield "teacher_half", teacher
    yield "kd_same_half", plan.taught(block, plan.kd(), teacher=teacher, **half)
    other = {**half, "complement": True}
    yield "kd_other_half", plan.taught(block, plan.kd(), teacher=teacher, **other)
    yield "hard_other_half", plan.hard(block, **other)


def few_labels(plan: Plan, block: int) -> Arms:
    """When: labels for a small share of the images; hard, distilled on those images alone, and on
    all images; each plain and jittered."""
    for share, recipe in plan.few_recipes.items():
        few: dict[str, Any] = {"share": float(share), "draw": block}
        for name, changes in (("", {}), ("_jitter", {"augmentation": "jitter"})):
            rest: dict[str, Any] = {"changes": changes}
            hard = plan.run(plan.digits, plan.student, recipe, block, **rest, **few)
            yield f"hard_{share}{name}", hard
            yield f"kd_{share}{name}", plan.taught(block, plan.kd(), recipe=recipe, **rest, **few)
            unlabelled = plan.taught(block, plan.kd(), **rest, **few, unlabelled=True)
            yield f"kd_all_{share}{name}", unlabelled


def budget(plan: Plan, block: int) -> Arms:
    """Hard labels for as long as teacher and student took together, by FLOPs; on CIFAR-10 for twice
    the epochs."""
    yield "hard_equal_budget", plan.hard(block, changes={"epochs": plan.budget_epochs})
    strong = plan.cifar(plan.strong, block)
    yield (
        "strong_twice",
        replace(strong, recipe=replace(strong.recipe, epochs=2 * strong.recipe.epochs)),
    )


def grey(plan: Plan, block: int) -> Arms:
    """Straw men, shown and not tested: teachers that know nothing, label smoothing at the main arm's
    weight."""
    yield "uniform_teacher", plan.taught(block, plan.kd(mode="uniform_teacher"), teacher=None)
    yield "shuffled_teacher", plan.taught(block, plan.kd(mode="shuffled_teacher"))
    whole = plan.teacher_of(block)
    untrained = replace(whole, recipe=replace(whole.recipe, epochs=0))
    loss = plan.kd(mode="untrained_teacher")
    yield "untrained_teacher", plan.taught(block, loss, teacher=untrained)
    smoothing = LossSpec.mix("label_smoothing", 1, plan.alpha)
    yield "label_smoothing_strong", plan.taught(block, smoothing, teacher=None)


def noise(plan: Plan, block: int) -> Arms:
    """Why: a net of the teacher's architecture learns from its outputs on noise alone, from the
    teacher's own initialisation and from another one (after Cloud et al. 2025)."""
    for name, seed in (("own", block), ("other", block + OTHER_SEED)):
        loss = LossSpec("kd", plan.temperature, 0.0, 1.0)
        teacher = plan.teacher_of(block)
        taught = plan.taught(seed, loss, plan.teacher, teacher=teacher, noise=True, draw=block)
        yield f"noise_{name}_initialisation", taught


FAMILIES: dict[str, Callable[[Plan, int], Arms]] = {
    "core": core,
    "cifar": cifar,
    "omitted": omitted,
    "two_digits": two_digits,
    "omitted_control": omitted_control,
    "rivals": rivals,
    "jittered": jittered,
    "sizes": sizes,
    "augmented_sizes": augmented_sizes,
    "temperatures": temperatures,
    "pairs": pairs,
    "pair_temperatures": pair_temperatures,
    "cifar_weights": cifar_weights,
    "cifar_rivals": cifar_rivals,
    "parts": parts,
    "quality": quality,
    "unfamiliar": unfamiliar,
    "few_labels": few_labels,
    "budget": budget,
    "grey": grey,
    "noise": noise,
}


#: The families that primary claims rest on: a block is trained in all of them before the next one
#: is begun, so that whatever has been trained, all claims have about as many blocks.
PRIMARY = ("core", "cifar", "omitted")


def order(plan: Plan) -> list[tuple[str, int]]:
    """Family and block of every unit, in the order of training."""
    first = [(name, b) for b in plan.blocks for name in PRIMARY if b in plan.blocks[: plan.n[name]]]
    return first + [
        (name, b) for name in FAMILIES if name not in PRIMARY for b in plan.blocks[: plan.n[name]]
    ]


def units(plan: Plan) -> list[list[Planned]]:
    """Every unit, family × block, in the order of training; each run once, in the first unit that
    needs it. A teacher stands before its students."""
    found: list[list[Planned]] = []
    known: set[str] = set()
    for family, block in order(plan):
        unit = []
        for name, spec in FAMILIES[family](plan, block):
            lineage = [(name, spec)]
            while (teacher := lineage[-1][1].teacher) is not None:
                lineage.append(("teacher", teacher))
            for title, one in reversed(lineage):
                if one.run_id not in known:
                    known.add(one.run_id)
                    role = "student" if one.teacher else "baseline"
                    role = "teacher" if title.startswith("teacher") else role
                    place = len(known)
                    unit.append(Planned(family, role, title, "", one, rank=place, block=block))
        found.append(unit)
    return found


def grids(plan: Plan, families: Sequence[str] = ()) -> dict[str, list[Planned]]:
    """The runs of each family asked for, of all by default. A family that shares a run with an
    earlier one leaves it to that one. Raises SpecError for a family that the plan does not have."""
    for family in families:
        s.choose("a family of the plan", family, FAMILIES)
    found: dict[str, list[Planned]] = {name: [] for name in families or FAMILIES}
    for unit in units(plan):
        for planned in unit:
            if planned.question in found:
                found[planned.question].append(planned)
    return found


def processor_of(record: Mapping[str, Any]) -> str:
    """The type of processor that a record was made on, in words."""
    return processor_words(record["provenance"]["processor"])


def processor_words(processor: Mapping[str, Any]) -> str:
    """A type of processor in words, as "AuthenticAMD AVX512 with bf16"."""
    bf16 = "with" if processor["bf16"] else "without"
    return f"{processor['vendor']} {processor['capability']} {bf16} bf16"


def begun_on(planned: Iterable[Planned], store: Store) -> dict[tuple[str, int | None], set[str]]:
    """The types of processor that the stored runs of each block were made on, by data set and block.
    More than one is a mixture, which no comparison may be made of."""
    found: dict[tuple[str, int | None], set[str]] = {}
    for plan in planned:
        if record := store.read(plan.spec.data.name, plan.spec.run_id):
            key = plan.spec.data.name, plan.block
            found.setdefault(key, set()).add(processor_of(record))
    return found


def read(profile: str) -> Plan | None:
    """The plan of a profile, or None if it has none. Raises SpecError."""
    path = p.project_root() / "params" / profile / f"{PLAN}.yaml"
    if not path.is_file():
        return None
    settings = p.read_yaml(path)
    names = [f.name for f in fields(Plan)]
    for key in settings:
        s.choose(f"a setting of {path.name}", key, names)
    missing = [f.name for f in fields(Plan) if f.name not in settings and f.name != "data_root"]
    if missing:
        raise SpecError(f"{path.name} of the profile {profile!r} does not say its {missing[0]}.")
    return Plan(**settings)
