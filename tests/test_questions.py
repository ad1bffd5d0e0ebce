"""Laws of what is trained: blocks share nothing, teachers come first, contrasts differ in one thing."""

import itertools

import pandas as pd
import pytest

from darkknowledge.config import project_root
from darkknowledge.questions import params, registry
from darkknowledge.questions.base import OTHER_SEED, Planned, ordered
from darkknowledge.spec import RunSpec

CHOSEN = {
    profile: {q: params.read(profile, q) for q in params.questions_of(profile)}
    for profile in ("quick", "paper")
}
PLANS = {profile: registry.grids(chosen) for profile, chosen in CHOSEN.items()}
LOSS = {"loss.mode", "loss.temperature", "loss.w_hard", "loss.w_soft", "teacher"}
SHARES = {"loss.w_hard", "loss.w_soft"}
DROPOUT = {"model.dropout_input", "model.dropout_hidden"}
SIZE, MODE = {"model.hidden"}, {"loss.mode"}
#: What stands behind an arm in a contrast, beside the words "large" and "small" for the setup's nets and
#: "main" for its temperature.
WORDS = {
    "T=1": {"temperature": 1.0}, "without-3": {"omitted": "3"}, "whole": {"omitted": "", "kept": ""},
    "only-7-8": {"kept": "7 8"}, "images": {"family": "images"},
}  # fmt: skip
#: Question, the two sides, and the only settings in which they differ.
CONTRASTS = [
    ("q1", "teacher", "hard_augmented small", SIZE | DROPOUT),
    ("q1", "hard large", "hard small", SIZE),
    ("q2", "kd", "hard", LOSS),
    ("q2", "kd", "confidence_only", MODE),
    ("q2", "kd", "permuted_teacher", MODE),
    ("q2", "kd", "soft_only", SHARES),
    ("q2", "label_smoothing", "hard", MODE | SHARES),
    ("q2", "tfkd_reg", "hard", LOSS - {"teacher"}),
    ("q2", "kd_jitter", "hard_jitter", LOSS),
    ("q2", "kd", "shuffled_teacher", MODE),
    ("q2", "kd", "uniform_teacher", MODE | {"teacher"}),
    ("q2", "kd", "untrained_teacher", MODE | {"teacher"}),
    ("q2", "teacher", "teacher_untrained", {"recipe.epochs"}),
    ("q2", "hard", "hard_equal_budget", {"recipe.epochs"}),
    ("q3", "kd small T=1", "kd small main", {"loss.temperature"}),
    ("q4", "kd without-3", "kd whole", {"data.omit"}),
    ("q4", "kd without-3", "hard without-3", LOSS),
    ("q4", "kd only-7-8", "hard only-7-8", LOSS),
    ("q5", "by_weak images", "hard large", LOSS),
    ("q5", "by_strong", "hard small images", LOSS),
    ("q5", "hard large", "hard small images", SIZE),
    ("q5", "hard large", "hard_equal_budget", {"recipe.epochs"}),
    ("q6", "by_own images", "hard images", LOSS | {"seed"}),
    ("q7", "kd", "confidence_only", MODE),
    *(("q7", "kd", part, MODE) for part in ("target_part", "nontarget_part", "decoupled")),
    ("q7", "kd_same_half", "kd_other_half", {"data.complement"}),
    ("q7", "kd_other_half", "hard_other_half", LOSS),
    ("q7", "kd_0.1", "hard_0.1", LOSS),
    ("q7", "kd_0.1", "kd_0.1_jitter", {"recipe.augmentation"}),
    ("q7", "noise_own_initialisation", "noise_other_initialisation", {"seed"}),
]


def runs(profile: str) -> list[Planned]:
    """All runs of all questions, each with its part in its question."""
    return [one for of in PLANS[profile].values() for one in of]


def select(profile: str, question: str, side: str) -> dict[int, RunSpec]:
    """The only run per block that a side of a contrast names."""
    nets, (arm, *words) = CHOSEN[profile][question].nets, side.split()
    known = WORDS | {"large": {"model": nets.teacher}, "small": {"model": nets.student}}
    wanted = {"arm": arm}
    for word in words:
        wanted |= (known | {"main": {"temperature": nets.temperature}})[word]
    found = [one for one in PLANS[profile][question] if wanted.items() <= one.row().items()]
    chosen = {one.block: one.spec for one in found}
    assert len(chosen) == len(found), f"{side} selects several runs per block"
    return chosen


def settings(spec: RunSpec) -> set[tuple[str, str]]:
    """A run's settings by name, as ``loss.mode``; its teacher by id."""
    flat = {}
    for part, value in spec.full().items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{part}.{key}".rstrip("."): repr(v) for key, v in inner}
    return set(flat.items())


each = pytest.mark.parametrize("profile", PLANS)


@each
def test_the_sides_of_a_contrast_differ_in_what_it_is_about_and_in_nothing_else(profile):
    compared = 0
    for question, first, second, expected in CONTRASTS:
        one, other = (select(profile, question, side) for side in (first, second))
        both = one.keys() & other.keys()
        assert both or profile == "quick", (question, first, second)
        for block in both:
            differing = {name for name, _ in settings(one[block]) ^ settings(other[block])}
            assert expected - DROPOUT <= differing <= expected, (question, first, second)
            compared += 1
    assert compared > 100


@each
def test_blocks_share_nothing(profile):
    """A run, its teacher and what is drawn for it belong to its own block."""
    owner: dict[str, int] = {}
    for one in runs(profile):
        assert owner.setdefault(one.spec.run_id, one.block) == one.block
        assert one.spec.seed in (one.block, one.block + OTHER_SEED)
        assert one.spec.data.draw in (0, one.block)
        if one.spec.teacher:
            assert owner[one.spec.teacher.run_id] == one.spec.teacher.seed == one.block
    blocks = sorted(set(owner.values()))
    assert not {b + OTHER_SEED for b in blocks} & set(blocks)


@each
def test_every_run_stands_once_and_after_its_teacher(profile):
    for planned in (*PLANS[profile].values(), ordered(PLANS[profile].values())):
        seen: set[str] = set()
        for one in planned:
            assert one.spec.run_id not in seen
            assert one.spec.teacher is None or one.spec.teacher.run_id in seen
            seen.add(one.spec.run_id)
    assert seen == {one.spec.run_id for one in runs(profile)}  # no question's run is left out


@each
def test_a_block_is_whole_in_all_primary_families_before_the_next_and_the_others_follow(profile):
    order = ordered(PLANS[profile].values())
    first = list(itertools.takewhile(lambda one: one.primary, order))
    rest = order[len(first) :]
    assert not any(one.primary for one in rest)
    primary = {one.spec.run_id for one in runs(profile) if one.primary}
    assert {one.spec.run_id for one in first} == primary
    blocks = [b for b, _ in itertools.groupby(one.block for one in first)]
    assert blocks == list(CHOSEN[profile]["q1"].blocks)
    families = [key for key, _ in itertools.groupby((o.question, o.family) for o in rest)]
    assert len(families) == len(set(families))


@each
def test_a_family_has_the_first_blocks_of_its_question_as_many_as_its_parameter_says(profile):
    for question, planned in PLANS[profile].items():
        chosen, ids = CHOSEN[profile][question], {one.spec.run_id for one in planned}
        for family in registry.QUESTIONS[question].families(chosen):
            due = chosen.blocks[: family.blocks]
            assert {s.run_id for block in due for _, s in family.arms(chosen, block)} <= ids
            assert {one.block for one in planned if one.family == family.name} <= set(due)


def test_the_papers_runs_are_those_of_the_frozen_plan():
    path = project_root() / "results" / "paper" / "plan.csv"
    if not path.is_file():
        pytest.skip("No list of the frozen runs lies in results/paper/plan.csv.")
    frozen = pd.read_csv(path, dtype=str)["run_id"]
    assert {one.spec.run_id for one in runs("paper")} == set(frozen)
    assert frozen.is_unique


@each
def test_a_weaker_net_teaches_in_q5_one_of_the_same_kind_in_q6_a_half_trained_one_in_q7(profile):
    for one in (one for q in ("q5", "q6") for one in PLANS[profile][q] if one.spec.teacher):
        teacher, student = one.spec.teacher, one.spec
        assert (teacher.model.hidden < student.model.hidden) == (one.arm == "by_weak")
        assert (teacher.model == student.model) == (one.arm == "by_own") == (one.question == "q6")
        assert student.seed - teacher.seed == OTHER_SEED * (one.arm == "by_own")
        assert teacher.loss.mode == "hard"
    of = PLANS[profile]["q7"]
    (whole,) = {one.spec.recipe.epochs for one in of if one.arm == "teacher"}
    for one in (one for one in of if one.arm.startswith("kd_teacher")):
        share = float(one.arm.rpartition("_")[2])
        assert one.spec.teacher.recipe.epochs == max(1, round(share * whole)) < whole


@each
def test_only_transfer_sets_lack_a_class_and_each_is_omitted_by_both_ways_to_train(profile):
    chosen, of = CHOSEN[profile]["q4"], PLANS[profile]["q4"]
    assert all(one.spec.teacher.data.unseen == () for one in of if one.spec.teacher)
    sets = [*((d,) for d in chosen.omit_in_turn), (), *[()] * bool(chosen.keep_only)]
    for arm in ("kd", "hard"):
        found = {(o.spec.data.omit, o.spec.data.keep) for o in of if o.arm == arm}
        assert sorted(omit for omit, _ in found) == sorted(sets)
        assert ((), chosen.keep_only) in found


def test_equal_budget_has_the_flops_of_teacher_and_student_together():
    """Epochs times products, three passes a step; the teacher's labels are computed once."""
    arms = {one.arm: one.spec for one in reversed(PLANS["paper"]["q2"])}

    def products(arm: str) -> int:
        a, b = arms[arm].model.hidden
        return (784 * a + a * b + b * 10) * arms[arm].recipe.epochs

    both = products("teacher") + products("kd")
    assert products("hard_equal_budget") == pytest.approx(both, rel=0.002)
    large = (select("paper", "q5", f"{arm} large")[200] for arm in ("hard_equal_budget", "hard"))
    twice, hard = (spec.recipe.epochs for spec in large)
    assert twice == 2 * hard


@each
def test_published_weights_are_of_the_first_block_and_of_each_kind_once(profile):
    found = registry.published(PLANS[profile])
    assert {spec.seed % OTHER_SEED for spec in found} == {CHOSEN[profile]["q1"].blocks[0]}
    assert len({spec.run_id for spec in found}) == len(found) == 8
    assert [spec.data.omit for spec in found if spec.data.omit] == [(3,)]


def test_the_part_of_an_arm_is_that_of_its_loss_or_of_a_teacher():
    roles = {one.arm: one.role for one in PLANS["paper"]["q2"]}
    named = ("teacher", "teacher_untrained", "hard", "kd", "permuted_teacher", "label_smoothing")
    expected = ["teacher", "teacher", "baseline", "student", "control", "control"]
    assert [roles[arm] for arm in named] == expected
