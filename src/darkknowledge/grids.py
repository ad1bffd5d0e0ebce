"""A question's parameters → the grid of its runs: in which role, and which ones first."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from darkknowledge import params as p
from darkknowledge.spec import (
    TEACHER_MODES,
    TRUE_LABELS,
    LossSpec,
    ModelSpec,
    Recipe,
    RunSpec,
    data_spec,
)
from darkknowledge.worlds import World

ROLES = ("teacher", "baseline", "student", "control")


@dataclass(frozen=True)
class Planned:
    """A run and the part that it plays in a question. ``arm`` names the row of the comparison;
    runs of a lower ``rank`` are trained first. ``block`` is that of the study's plan."""

    question: str
    role: str
    arm: str
    protocol: str
    spec: RunSpec
    pair: str = ""
    rank: int = 0
    block: int | None = None

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
            **({} if self.block is None else {"block": self.block}),
        }


@dataclass(frozen=True)
class SpecBuilder:
    """What all runs of a question, or of a world, share; makes specs from recipes' names."""

    params: p.Question | World

    def spec(
        self,
        net: tuple[int, ...] | str,
        recipe: str,
        seed: int,
        loss: LossSpec = TRUE_LABELS,
        teacher: RunSpec | None = None,
        *,
        omit: tuple[int, ...] = (),
        keep: tuple[int, ...] = (),
        **changes: Any,
    ) -> RunSpec:
        """The RunSpec of a net trained by a named recipe (with single settings changed) on all
        classes, or on a transfer set without ``omit`` or with none but ``keep``.

        ``net`` is a label, or the hidden widths of a multilayer perceptron.
        """
        label = net if isinstance(net, str) else ModelSpec("mlp", net).label
        model, optimisation = _split(recipe, label)
        return RunSpec(
            data=data_spec(self.params.dataset, self.params.validation, omit, keep),
            model=model,
            recipe=replace(optimisation, **changes),
            seed=seed,
            loss=loss,
            teacher=teacher,
            precision=self.params.precision,
            device=self.params.device,
        )

    def teachers(self) -> list[RunSpec]:
        """The cumbersome nets, one a teacher seed; worlds have none."""
        q = self.params
        assert isinstance(q, p.Question)
        return [self.spec(q.teacher_hidden, q.teacher_recipe, seed) for seed in q.teacher_seeds]

    def teacher_of(self, seed: int) -> RunSpec:
        """The teacher of student ``seed``: seed modulo the number of teachers."""
        teachers = self.teachers()
        return teachers[seed % len(teachers)]


# Recipes are read once a process: a grid asks for the same few names hundreds of times.
@functools.lru_cache(maxsize=64)
def _split(recipe: str, net: str) -> tuple[ModelSpec, Recipe]:
    return p.split_recipe(recipe, net)


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
    """Hard labels, distillation and its controls without jitter; hard and KD with jitter for all, and
    by the same recipe without it."""
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

    def untrained(seed: int) -> RunSpec:
        return _untrained(teach(seed))

    for extra in params.extra_alphas:
        arm = "soft_only" if extra == 1 else f"kd_alpha_{extra:g}"
        add("student", arm, "hinton", params.seeds, kd_recipe, LossSpec.mix("kd", t, extra), teach)
    for mode in params.controls:
        # Label smoothing works at T = 1 by definition; all other controls share the main arm's T.
        loss = LossSpec.mix(mode, 1 if mode == "label_smoothing" else t, alpha)
        source = teach if mode in TEACHER_MODES else None
        if mode == "untrained_teacher":
            source = untrained
        add("control", mode, "hinton", params.control_seeds, kd_recipe, loss, source)
    if "label_smoothing" in params.controls and params.smoothing != alpha:
        loss = LossSpec.mix("label_smoothing", 1, params.smoothing)
        add("control", "label_smoothing_mild", "hinton", params.control_seeds, kd_recipe, loss)
    if params.control_seeds:
        hard = params.student_recipe
        add("control", "hard_jitter", "hinton", params.control_seeds, hard, augmentation="jitter")
        if budget := params.budget_epochs:
            arm = "hard_equal_budget"
            add("control", arm, "hinton", params.control_seeds, hard, epochs=budget)
    loss, recipe, seeds = LossSpec.mix("kd", t, alpha), params.jitter_recipe, params.jitter_seeds
    # The jittered runs' recipe need not be the main arms': without its jitter it tells what jitter,
    # and not the recipe, does to the gain.
    for protocol, changes in (("jitter", {}), ("unjittered", {"augmentation": "none"})):
        add("baseline", "hard", protocol, seeds, recipe, **changes)
        add("student", "kd", protocol, seeds, recipe, loss, teach, **changes)
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
    sets: list[dict[str, tuple[int, ...]]] = [{"omit": (digit,)} for digit in params.omit_in_turn]
    if params.keep_only:
        sets.append({"keep": params.keep_only})

    def add(role, arm, temperature, alpha, transfer):
        recipe = params.student_recipe if arm == "hard" else params.student_recipe_kd
        recipe = params.student_recipe_keep if "keep" in transfer else recipe
        for seed in params.seeds:
            if arm == "hard":
                spec = build.spec(params.student_hidden, recipe, seed, **transfer)
            else:
                spec = build.spec(
                    params.student_hidden,
                    recipe,
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


@dataclass(frozen=True)
class Series:
    """Runs of one world on the way into the grid of Q5 or Q6, ``pair`` naming the nets."""

    question: str
    pair: str
    world: World
    rank: int

    def runs(
        self,
        role: str,
        arm: str,
        net: str,
        seeds: Iterable[int],
        loss: LossSpec = TRUE_LABELS,
        teachers: list[RunSpec] | None = None,
        **changes: Any,
    ) -> list[Planned]:
        """One run a seed; student s learns from the teacher s modulo their number."""
        build, recipe = SpecBuilder(self.world), self.world.recipe
        found = []
        for seed in seeds:
            teacher = teachers[seed % len(teachers)] if teachers else None
            spec = build.spec(net, recipe, seed, loss, teacher, **changes)
            plan = Planned(self.question, role, arm, self.protocol, spec, self.pair, self.rank)
            found.append(plan)
        return found

    @property
    def protocol(self) -> str:
        """``cifar`` for natural images, else ``hinton``: no jitter for the student."""
        return "cifar" if self.world.dataset.startswith("cifar") else "hinton"

    def losses(self, mode: str = "kd") -> list[LossSpec]:
        """The world's temperatures at its weight; the first is the main arm's."""
        return [LossSpec.mix(mode, t, self.world.alpha) for t in self.world.temperatures]

    def controls(self, net: str, teachers: list[RunSpec]) -> list[Planned]:
        """What takes the knowledge out of the main arm and keeps its temperature and weights; label
        smoothing, also at its usual weight; and true labels for as many epochs as teacher and
        student took together."""
        sources = {
            **dict.fromkeys(("uniform_teacher", "tfkd_reg")),
            **dict.fromkeys(("shuffled_teacher", "permuted_teacher"), teachers),
            "untrained_teacher": [_untrained(spec) for spec in teachers],
        }
        losses = {mode: (self.losses(mode)[0], source) for mode, source in sources.items()}
        for arm, weight in (
            ("label_smoothing", self.world.alpha),
            ("label_smoothing_mild", USUAL_SMOOTHING),
        ):
            losses[arm] = LossSpec.mix("label_smoothing", 1, weight), None
        found = []
        for arm, (loss, source) in losses.items():
            found += self.runs("control", arm, net, self.world.control_seeds, loss, source)
        both = 2 * p.recipe(self.world.recipe)["epochs"]
        seeds = self.world.control_seeds
        return found + self.runs("control", "hard_equal_budget", net, seeds, epochs=both)


def specs(plans: Iterable[Planned]) -> list[RunSpec]:
    """Their specs."""
    return [plan.spec for plan in plans]


def q5(params: p.Q5) -> list[Planned]:
    """Each pair: weak teaches strong at every temperature, beside the strong net on true labels,
    the forward direction, a poorly trained teacher, controls, and Yuan et al.'s own weights."""
    grid: list[Planned] = []
    settings = zip(params.pairs, params.settled(), params.element_mean_alphas, strict=True)
    for rank, (pair, world, element_mean) in enumerate(settings):
        weak, strong = p.nets_of(pair)
        of = Series("q5", pair, world, rank)
        rest, main = world.control_seeds, of.losses()[0]
        weak_teachers = of.runs("teacher", "teacher", weak, world.teacher_seeds)
        strong_teachers = of.runs("teacher", "teacher_forward", strong, world.teacher_seeds)
        grid += weak_teachers + strong_teachers
        grid += of.runs("baseline", "hard", strong, world.seeds)
        for loss in of.losses():
            seeds = world.seeds if loss == main else rest
            grid += of.runs("student", "kd", strong, seeds, loss, specs(weak_teachers))
        grid += of.runs("baseline", "hard_forward", weak, rest)
        grid += of.runs("student", "kd_forward", weak, rest, main, specs(strong_teachers))
        poor = [_with_epochs(spec, world.poor_epochs) for spec in specs(weak_teachers)]
        grid += of.runs("control", "kd_poor", strong, rest, main, poor)
        grid += of.controls(strong, specs(weak_teachers))
        if element_mean:
            theirs = LossSpec.element_mean("kd", YUAN_TEMPERATURE, element_mean, CLASSES)
            grid += of.runs("student", "kd_yuan", strong, rest, theirs, specs(weak_teachers))
    return grid


#: Yuan et al. 2020, normal and reversed distillation on CIFAR-10.
YUAN_TEMPERATURE, CLASSES = 20.0, 10
#: Seeds of first-generation students that become teachers lie this far from their teachers' seeds.
SECOND_GENERATION = 1000
#: The usual weight of label smoothing, shown beside the one with the main arm's weight.
USUAL_SMOOTHING = 0.1


def q6(params: p.Q6) -> list[Planned]:
    """Each net learns from trained nets of its own kind at every temperature, and from students of
    those (a second generation), beside true labels, label smoothing and Tf-KD_reg."""
    grid: list[Planned] = []
    for rank, (net, world) in enumerate(zip(params.nets, params.settled(), strict=True)):
        of = Series("q6", f"{net}>{net}", world, rank)
        rest, main = world.control_seeds, of.losses()[0]
        teachers = of.runs("teacher", "teacher", net, world.teacher_seeds)
        grid += teachers
        grid += of.runs("baseline", "hard", net, world.seeds)
        for loss in of.losses():
            seeds = world.seeds if loss == main else rest
            grid += of.runs("student", "kd", net, seeds, loss, specs(teachers))
        first = [
            replace(spec, seed=spec.seed + SECOND_GENERATION, loss=main, teacher=spec)
            for spec in specs(teachers)
        ]
        grid += of.runs("student", "kd_generation2", net, rest, main, first)
        grid += of.controls(net, specs(teachers))
    return grid


def q7(params: p.Q7) -> list[Planned]:
    """The discussion's experiments, cheap ones first (``rank``): soft labels with parts of their
    knowledge taken out; the parts of the divergence; teachers trained with label smoothing; the
    same or another view of a jittered image, also for longer."""
    build = SpecBuilder(params)
    net, t, alpha = params.student_hidden, params.temperature, params.alpha
    grid = [Planned("q7", "teacher", "teacher", "hinton", spec) for spec in build.teachers()]

    def add(rank, role, arm, seeds, loss=TRUE_LABELS, teach=None, protocol="hinton", **changes):
        recipe = params.student_recipe if loss == TRUE_LABELS else params.student_recipe_kd
        for seed in seeds:
            teacher = teach(seed) if teach else None
            spec = build.spec(net, recipe, seed, loss, teacher, **changes)
            grid.append(Planned("q7", role, arm, protocol, spec, rank=rank))

    kd = LossSpec.mix("kd", t, alpha)
    add(0, "baseline", "hard", params.seeds)
    add(0, "student", "kd", params.seeds, kd, build.teacher_of)
    for mode in ("label_smoothing", "uniform_teacher", "shuffled_teacher", "permuted_teacher"):
        loss = LossSpec.mix(mode, 1 if mode == "label_smoothing" else t, alpha)
        source = build.teacher_of if mode in TEACHER_MODES else None
        add(0, "control", mode, params.seeds, loss, source)
    for arm, mode in {"kd_parts": "kd", **{m: m for m in PARTS}}.items():
        loss = LossSpec.mix(mode, params.parts_temperature, alpha)
        add(1, "student", arm, params.seeds, loss, build.teacher_of)

    def smoothed(seed: int) -> RunSpec:
        smooth = LossSpec.mix("label_smoothing", 1, params.smoothing)
        return replace(build.teacher_of(seed), loss=smooth)

    for teacher in dict.fromkeys(map(smoothed, params.few_seeds)):
        grid.append(Planned("q7", "teacher", "teacher_smoothed", "hinton", teacher, rank=2))
    add(2, "student", "kd_smoothed_teacher", params.few_seeds, kd, smoothed)
    for rank, suffix, factor in ((3, "", 1), (4, "_longer", params.longer)):
        views = {
            "hard_jitter": ("baseline", params.student_recipe, TRUE_LABELS, None),
            "kd_same_view": ("student", params.student_recipe_kd, kd, build.teacher_of),
            "kd_other_view": (
                "student",
                params.student_recipe_kd,
                replace(kd, teacher_view="independent"),
                build.teacher_of,
            ),
        }
        for arm, (role, recipe, loss, teach) in views.items():
            changes = {"epochs": factor * p.recipe(recipe)["epochs"], "augmentation": "jitter"}
            add(rank, role, arm + suffix, params.few_seeds, loss, teach, "jitter", **changes)
    return grid


#: The parts of the divergence, alone and re-weighted (Zhao et al. 2022).
PARTS = ("target_part", "nontarget_part", "decoupled")


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
    "q5": q5,
    "q6": q6,
    "q7": q7,
    "tuning": tuning,
}


def _roles(grid: list[Planned]) -> Iterable[tuple[str, str, str, RunSpec]]:
    return ((x.role, x.arm, x.protocol, x.spec) for x in grid)


def _untrained(spec: RunSpec) -> RunSpec:
    return _with_epochs(spec, 0)


def _with_epochs(spec: RunSpec, epochs: int) -> RunSpec:
    return replace(spec, recipe=replace(spec.recipe, epochs=epochs))


def grid(question: str, params: p.Anything) -> list[Planned]:
    """The runs of a question."""
    planned = GRIDS[question](params)
    if params.profile != PILOT:
        return planned
    return [replace(plan, spec=_first_version(plan.spec)) for plan in planned]


#: The first edition: its runs were trained by recipe version 1, are stored, and train no more.
PILOT = "pilot"


def _first_version(spec: RunSpec) -> RunSpec:
    teacher = _first_version(spec.teacher) if spec.teacher else None
    return replace(spec, teacher=teacher, recipe_version=1)


#: Question, arm and protocol of the nets whose weights are published.
PUBLISHED = (
    ("q1", "teacher", "hinton"),
    ("q1", "hard", "hinton"),
    ("q2", "kd", "hinton"),
    ("q4", "kd", "hinton"),
    ("q5", "kd", "cifar"),
    ("q6", "kd", "cifar"),
)


def published(plans: Iterable[Planned]) -> list[RunSpec]:
    """The runs whose weights are published, the first seed of each: cumbersome, small and distilled
    net, the student that never saw the digit that Q4 studies first, and for each pair of natural
    images the distilled net."""
    chosen: dict[tuple, RunSpec] = {}
    for plan in plans:
        key = (plan.question, plan.arm, plan.protocol)
        whole = plan.question == "q4" and not plan.spec.data.omit
        if key in PUBLISHED and not whole:
            chosen.setdefault((*key, plan.pair), plan.spec)
    return list(chosen.values())


def ordered(plans: Iterable[Planned]) -> list[RunSpec]:
    """Each run once, most informative first: pair by pair, one seed of everything (teachers, then
    baselines, students, controls), then the next seed. A teacher always stands before its students.
    """
    plans = list(plans)
    ranks: dict[tuple, int] = {}
    keyed = []
    for plan in plans:
        spec = plan.spec
        kind = (plan.question, plan.role, plan.arm, plan.protocol, plan.pair)
        series = (*kind, spec.model, spec.loss, spec.data)
        ranks[series] = rank = ranks.get(series, -1) + 1
        keyed.append(((plan.rank, rank, ROLES.index(plan.role)), plan.spec))
    keyed.sort(key=lambda item: item[0])
    result: dict[str, RunSpec] = {}
    for _, spec in keyed:
        lineage = [spec]  # a teacher may have had a teacher
        while (teacher := lineage[-1].teacher) is not None:
            lineage.append(teacher)
        for one in reversed(lineage):
            result.setdefault(one.run_id, one)
    return list(result.values())
