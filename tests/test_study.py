"""Grids: pairing, teachers, controls at the main arm's settings, order."""

import dataclasses

import pytest

from darkknowledge import grids, params, study
from darkknowledge.records import Store
from darkknowledge.spec import TEACHER_MODES

PROFILES = ["quick", "pilot"]


def by_arm(profile: str) -> dict[tuple[str, str], dict[int, grids.Planned]]:
    grid = grids.grid("q2", params.read(profile, "q2"))
    arms: dict = {}
    for plan in grid:
        arms.setdefault((plan.protocol, plan.arm), {})[plan.spec.seed] = plan
    return arms


@pytest.mark.parametrize("profile", PROFILES)
def test_a_student_and_its_baseline_differ_only_in_loss_teacher_and_tuned_recipe(profile):
    arms = by_arm(profile)
    for protocol in ("hinton", "jitter", "unjittered"):
        for seed, student in arms[protocol, "kd"].items():
            baseline = arms[protocol, "hard"][seed].spec
            assert student.spec.data == baseline.data
            assert student.spec.model == baseline.model
            assert student.spec.recipe.augmentation == baseline.recipe.augmentation
            assert student.spec.recipe.epochs == baseline.recipe.epochs
            assert (student.spec.device, student.spec.precision) == (
                baseline.device,
                baseline.precision,
            )


@pytest.mark.parametrize("profile", PROFILES)
def test_student_s_learns_from_teacher_s_modulo_their_number(profile):
    teachers = params.read(profile, "q2").teacher_seeds
    for seed, plan in by_arm(profile)["hinton", "kd"].items():
        assert plan.spec.teacher.seed == teachers[seed % len(teachers)]


@pytest.mark.parametrize("profile", PROFILES)
def test_controls_share_the_main_arms_weights_and_temperature(profile):
    arms = by_arm(profile)
    main = arms["hinton", "kd"][0].spec
    for mode in params.read(profile, "q2").controls:
        for plan in arms["hinton", mode].values():
            loss = plan.spec.loss
            assert (loss.w_hard, loss.w_soft) == (main.loss.w_hard, main.loss.w_soft)
            assert loss.temperature == (1 if mode == "label_smoothing" else main.loss.temperature)
            assert plan.spec.recipe == main.recipe


def test_the_untrained_teacher_is_the_trained_one_at_its_start():
    arms = by_arm("quick")
    for seed, plan in arms["hinton", "untrained_teacher"].items():
        trained = arms["hinton", "kd"][seed].spec.teacher
        assert plan.spec.teacher.recipe.epochs == 0
        assert (plan.spec.teacher.seed, plan.spec.teacher.model) == (trained.seed, trained.model)


def test_students_see_no_jitter_in_hintons_protocol_and_their_teachers_do():
    arms = by_arm("pilot")
    assert {p.spec.recipe.augmentation for p in arms["hinton", "kd"].values()} == {"none"}
    assert {p.spec.teacher.recipe.augmentation for p in arms["hinton", "kd"].values()} == {"jitter"}


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_but_the_jitter_differs_where_its_effect_on_the_gain_is_claimed(profile):
    arms = by_arm(profile)
    for arm in ("hard", "kd"):
        assert set(arms["jitter", arm]) == set(arms["unjittered", arm])
        for seed, plan in arms["jitter", arm].items():
            recipe = dataclasses.replace(plan.spec.recipe, augmentation="none")
            plain = dataclasses.replace(plan.spec, recipe=recipe)
            assert plain == arms["unjittered", arm][seed].spec != plan.spec


def test_q2_contains_the_very_runs_of_q1():
    runs = {
        q: {plan.spec.run_id for plan in grids.grid(q, params.read("pilot", q))}
        for q in ("q1", "q2")
    }
    assert runs["q1"] <= runs["q2"]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_order_has_each_run_once_teachers_first_and_one_seed_of_everything_early(profile):
    grid = grids.grid("q2", params.read(profile, "q2"))
    order = grids.ordered(grid)
    ids = [spec.run_id for spec in order]
    assert len(ids) == len(set(ids))
    assert {plan.spec.run_id for plan in grid} <= set(ids)
    for place, spec in enumerate(order):
        if spec.teacher:
            assert ids.index(spec.teacher.run_id) < place
    arms = {(p.protocol, p.arm): p.spec.run_id for p in reversed(grid)}  # the first of each arm
    assert max(ids.index(first) for first in arms.values()) < 2 * len(arms)


def test_planned_runs_without_a_record_keep_their_row(store: Store):
    frame = study.table("q1", params.read("quick", "q1"), store)
    assert frame["test_errors"].isna().all()
    assert len(frame) == 10


def test_each_arm_of_the_paper_takes_its_best_candidate_on_validation():
    """Only where the search is complete; what was searched is then what is used."""
    frame = Store(params.project_root() / "results").read_table("pilot", "tuning")
    if frame is None or frame["validation_errors"].isna().any():
        pytest.skip("The search for the students' recipe is not complete.")
    chosen = params.read("pilot", "q2")
    for arm, recipe in (("hard", chosen.student_recipe), ("kd", chosen.student_recipe_kd)):
        runs = frame[frame["arm"] == arm].set_index("pair")["validation_errors"]
        assert runs[recipe] == runs.min()


@pytest.mark.parametrize("profile", PROFILES)
def test_q3_has_every_temperature_at_every_width_with_its_baseline(profile):
    chosen = params.read(profile, "q3")
    found: dict = {}
    for plan in grids.grid("q3", chosen):
        if plan.role != "teacher":
            loss = plan.spec.loss
            key = plan.spec.model.hidden, loss.temperature if plan.arm == "kd" else None
            found.setdefault(key, []).append(plan.spec.seed)
    for width in chosen.widths:
        seeds = set(found[(width, width), None])
        for t in chosen.temperatures:
            more = width == max(chosen.widths) and t in chosen.more_seeds_temperatures
            expected = {*chosen.seeds, *(chosen.more_seeds if more else ())}
            assert set(found[(width, width), t]) == expected <= seeds
    narrow = (min(chosen.widths),) * 2
    assert all((narrow, t) in found for t in chosen.narrow_temperatures)
    kinds = len(chosen.widths) * (len(chosen.temperatures) + 1) + len(chosen.narrow_temperatures)
    assert len(found) == kinds


@pytest.mark.parametrize("profile", PROFILES)
def test_q4_filters_the_transfer_set_of_students_only(profile):
    chosen = params.read(profile, "q4")
    plans = grids.grid("q4", chosen)
    for plan in plans:
        assert plan.spec.data.validation == chosen.validation
        if plan.spec.teacher:
            assert plan.spec.teacher.data.unseen == ()
    omitted = {p.spec.data.omit for p in plans if p.arm == "kd" and p.spec.data.omit}
    assert omitted == {(d,) for d in chosen.omit_in_turn}
    for kind in ("kd", "hard"):  # both ways to train on each transfer set, and on the whole one
        sets = {(p.spec.data.omit, p.spec.data.keep) for p in plans if p.arm == kind}
        assert len(sets) == len(chosen.omit_in_turn) + 2


@pytest.mark.parametrize("profile", PROFILES)
def test_questions_share_runs_instead_of_repeating_them(profile):
    def ids(question, arm):
        plans = grids.grid(question, params.read(profile, question))
        return {p.spec.run_id for p in plans if p.arm == arm and not p.spec.data.unseen}

    assert ids("q4", "kd") <= ids("q2", "soft_only")
    assert ids("q4", "hard") <= ids("q1", "hard")
    assert ids("q1", "teacher") == ids("q3", "teacher") == ids("q4", "teacher")


def test_one_seed_of_every_temperature_comes_before_second_seeds():
    chosen = params.read("pilot", "q3")
    order = [s.seed for s in grids.ordered(grids.grid("q3", chosen)) if s.seed < 100]
    kinds = len(chosen.widths) * (len(chosen.temperatures) + 1) + len(chosen.narrow_temperatures)
    assert set(order[:kinds]) == {chosen.seeds[0]}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("question", ["q5", "q6"])
def test_within_a_pair_all_nets_share_data_recipe_and_device(profile, question):
    """But for the poorly trained teacher, which is no row of the grid, and for the epochs of the
    net that is given the time of teacher and student."""
    chosen = params.read(profile, question)
    worlds: dict[str, set] = {}
    for plan in grids.grid(question, chosen):
        spec, recipe = plan.spec, plan.spec.recipe
        if plan.arm == "hard_equal_budget":
            recipe = dataclasses.replace(recipe, epochs=recipe.epochs // 2)
        worlds.setdefault(plan.pair, set()).add((spec.data, recipe, spec.device, spec.precision))
    assert all(len(found) == 1 for found in worlds.values())


def test_in_a_reversed_pair_the_weak_net_teaches_the_strong_one():
    for plan in grids.grid("q5", params.read("pilot", "q5")):
        weak, strong = plan.pair.split(">")
        teacher = plan.spec.teacher
        if plan.arm in ("kd", "kd_poor", "kd_yuan", "shuffled_teacher", "permuted_teacher"):
            assert (teacher.model.label, plan.spec.model.label) == (weak, strong)
        if plan.arm == "kd_forward":
            assert (teacher.model.label, plan.spec.model.label) == (strong, weak)
        if plan.arm == "kd_poor":
            assert teacher.recipe.epochs < plan.spec.recipe.epochs


def test_a_self_taught_net_never_starts_from_its_teachers_seed():
    for plan in grids.grid("q6", params.read("pilot", "q6")):
        seeds, spec = [], plan.spec
        while spec is not None:
            seeds.append(spec.seed)
            assert spec.model == plan.spec.model
            spec = spec.teacher
        assert len(seeds) == len(set(seeds))
        depth = {"kd_generation2": 3, **dict.fromkeys(("kd", *TEACHER_MODES), 2)}
        assert len(seeds) == depth.get(plan.arm, 1)


def test_yuans_weights_are_converted_to_ours():
    """Element-mean KL is ten times weaker over ten classes."""
    arms = {(p.pair, p.arm): p.spec.loss for p in grids.grid("q5", params.read("pilot", "q5"))}
    loss = arms["plain_cnn>resnet18", "kd_yuan"]
    assert (loss.w_hard, loss.w_soft, loss.temperature) == (0.99, 0.001, 20)


@pytest.mark.parametrize("question", ["q5", "q6"])
def test_controls_of_a_pair_share_its_main_arms_weights_and_temperature(question):
    plans = grids.grid(question, params.read("pilot", question))
    mains = {}
    for plan in plans:
        if plan.arm == "kd":
            mains.setdefault(plan.pair, plan.spec.loss)
    for plan in plans:
        other = ("label_smoothing_mild", "hard_equal_budget")
        if plan.role == "control" and plan.arm not in other:
            main, loss = mains[plan.pair], plan.spec.loss
            assert (loss.w_hard, loss.w_soft) == (main.w_hard, main.w_soft)
            if plan.arm != "label_smoothing":
                assert loss.temperature == main.temperature


def test_a_pair_is_finished_before_the_next_and_lineages_stand_in_order():
    plans = grids.grid("q6", params.read("pilot", "q6"))
    order = grids.ordered(plans)
    ids = [spec.run_id for spec in order]
    for spec in order:
        if spec.teacher:
            assert ids.index(spec.teacher.run_id) < ids.index(spec.run_id)
    nets = [spec.model.label for spec in order]
    assert nets == sorted(nets, key=list(dict.fromkeys(nets)).index)


def test_q2s_longer_baseline_costs_as_much_as_teacher_and_student():
    """Epochs times products, three passes a step; the teacher's labels are computed once."""
    chosen = params.read("pilot", "q2")
    arms = {plan.arm: plan.spec for plan in reversed(grids.grid("q2", chosen))}

    def products(arm):
        (a, b), spec = arms[arm].model.hidden, arms[arm]
        return (784 * a + a * b + b * 10) * spec.recipe.epochs

    budget = products("teacher") + products("kd")
    assert products("hard_equal_budget") == pytest.approx(budget, rel=0.01)


def test_q7_shares_its_first_arms_with_q2_and_names_each_run_once():
    of = {
        q: {p.arm: p.spec.run_id for p in reversed(grids.grid(q, params.read("pilot", q)))}
        for q in ("q2", "q7")
    }
    for arm in ("hard", "kd", "label_smoothing", "uniform_teacher", "shuffled_teacher"):
        assert of["q2"][arm] == of["q7"][arm]
    assert of["q2"]["hard_jitter"] == of["q7"]["hard_jitter"]
    ids = [p.spec.run_id for p in grids.grid("q7", params.read("pilot", "q7"))]
    assert len(ids) == len(set(ids))


def test_q7s_views_differ_in_the_view_alone_and_its_teachers_in_their_labels_alone():
    plans = {(p.arm, p.spec.seed): p.spec for p in grids.grid("q7", params.read("pilot", "q7"))}
    for suffix in ("", "_longer"):
        same, other = plans[f"kd_same_view{suffix}", 0], plans[f"kd_other_view{suffix}", 0]
        assert same.loss == dataclasses.replace(other.loss, teacher_view="same")
        assert dataclasses.replace(other, loss=same.loss) == same
        assert plans[f"hard_jitter{suffix}", 0].recipe == same.recipe
    plain, smoothed = (plans[a, 100] for a in ("teacher", "teacher_smoothed"))
    assert dataclasses.replace(smoothed, loss=plain.loss) == plain
    assert plans["kd_smoothed_teacher", 0].teacher == smoothed
