"""One count of what is stored, missing, diverged and waiting, and what the rest will cost."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from conftest import small_run, whole_record
from darkknowledge import grids, params, study, survey
from darkknowledge.paper import Paper
from darkknowledge.records import Run, Store, named_in
from darkknowledge.spec import LossSpec, RunSpec

PROFILES = ("quick", "pilot")


def keep(store: Store, spec: RunSpec, **provenance) -> None:
    """Store a record of a run that nobody trained."""
    record = whole_record(spec)
    record["provenance"] |= provenance
    store.write(spec.data.name, record)


def lose(store: Store, spec: RunSpec) -> None:
    note = {"run_id": spec.run_id, "spec": spec.full(), "reason": "It is not finite."}
    store.write_diverged(spec.data.name, note)


def student(seed: int, teacher: RunSpec) -> RunSpec:
    return small_run(seed=seed, loss=LossSpec.mix("kd", 4, 0.9), teacher=teacher)


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(survey, "trainable", lambda device, precision: device == "cpu")


def planned(profile: str) -> dict[str, list[grids.Planned]]:
    return {q: grids.grid(q, params.read(profile, q)) for q in params.questions_of(profile)}


# -- one count --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_tables_and_plans_name_the_same_runs(profile, store):
    """The report counts by the tables, ``status`` and ``train`` by the plans."""
    for question, plans in planned(profile).items():
        frame = study.publish(question, params.read(profile, question), store)
        of_table = {run.run_id for run in named_in(frame)}
        assert of_table == {spec.run_id for spec in grids.ordered(plans)}


@pytest.mark.parametrize("profile", PROFILES)
def test_status_train_and_the_report_count_alike(profile, store, no_gpu):
    plans = planned(profile)
    specs = grids.ordered(plan for of in plans.values() for plan in of)
    for spec in specs[::3]:
        keep(store, spec)
    alone = next(spec for spec in specs[1:] if spec.teacher and spec not in specs[::3])
    lose(store, alone)
    for question in plans:
        study.publish(question, params.read(profile, question), store)
    outcome, missing = survey.survey(specs, store)
    lines = survey.counts(profile, plans, outcome)
    paper = Paper.load(profile, store.root)
    assert lines[0].startswith(f"{profile}: {paper.progress()} runs stored, 1 diverged")
    # Every run is counted in one place only, and none is left out.
    counted = [
        int(n) for line in lines for n in re.findall(r"(\d+) (?:diverged|missing|wait)", line)
    ]
    stored = [int(n) for line in lines for n in re.findall(r"(\d+) of \d+ runs", line)]
    totals = [int(n) for line in lines for n in re.findall(r"of (\d+) runs", line)]
    assert sum(stored) == len(outcome.stored) == len(specs[::3])
    assert sum(stored) + sum(counted) == sum(totals) == len(specs)
    assert (len(lines) == 2) == (params.SEARCH in plans)


def test_a_run_is_stored_diverged_or_missing_and_never_two_of_them(store):
    teacher, lost = small_run(seed=100), small_run(seed=101)
    kept, orphan, heir, due = (
        student(0, teacher), student(1, lost), student(2, lost), student(3, teacher)
    )  # fmt: skip
    second = dataclasses.replace(orphan, seed=4, teacher=orphan)
    for spec in (teacher, kept, heir):  # one student had learnt before its teacher's note was made
        keep(store, spec)
    lose(store, lost)
    specs = [teacher, lost, kept, orphan, heir, due, second]
    found = store.progress([*survey.named(specs), *survey.named(specs)])
    assert found.stored == [s.run_id for s in (teacher, kept, heir)]
    assert found.diverged == [s.run_id for s in (lost, orphan, second)]
    assert found.missing == [due.run_id]
    assert str(found) == "3 of 7"
    outcome, missing = survey.survey(specs, store)
    assert set(outcome.diverged) == set(found.diverged)
    assert outcome.diverged[lost.run_id] == "It is not finite."
    assert outcome.diverged[second.run_id] == survey.no_teacher(second)
    # Its weights are not here, and a student needs them.
    assert (outcome.stored, missing) == ([teacher, kept, heir], [teacher, due])


def test_a_run_that_is_named_twice_keeps_its_teacher(store):
    """A table names a teacher by its student's row first, without the teacher's own teacher."""
    lost = small_run(seed=101)
    lose(store, lost)
    for first in ("", lost.run_id):
        runs = [Run("mnist5k", lost.run_id), Run("mnist5k", "b", first)]
        runs += [Run("mnist5k", "c", "b"), Run("mnist5k", "b", lost.run_id)]
        assert store.progress(runs).diverged == [lost.run_id, "b", "c"]


# -- what is not here -------------------------------------------------------------------------------


def far(seed: int, **changes) -> RunSpec:
    return dataclasses.replace(small_run(seed=seed, **changes), device="cuda")


def plan(spec: RunSpec, pair: str = "", question: str = "q5") -> grids.Planned:
    return grids.Planned(question, "student", "kd", "cifar", spec, pair)


def test_what_waits_for_a_device_is_one_line_per_pair_with_its_cost(store, no_gpu):
    plans = [plan(far(s, epochs=6), f"a>{'bc'[s % 2]}") for s in range(40)]
    plans += [plan(far(s, epochs=4), question="q1") for s in range(3)]
    plans += [plan(small_run(seed=7))]
    specs = grids.ordered(plans)
    outcome, missing = survey.survey(specs, store)
    assert missing == [plans[-1].spec] and len(outcome.no_device) == 43
    throughput = survey.Throughput(store, [])
    lines = survey.waiting(plans, outcome, throughput)
    assert lines == [
        "q5 a>b: 20 wait for a GPU (cost not measured)",
        "q5 a>c: 20 wait for a GPU (cost not measured)",
        "q1 mlp-16: 3 wait for a GPU (cost not measured)",
    ]
    # Six side by side: 20 runs of 6 epochs of 3950 images each, at 100 images a second.
    throughput.note(plans[0].spec, {"provenance": {"images_per_second": 100.0}})
    assert "(cost about 13 min)" in survey.waiting(plans, outcome, throughput)[0]


def test_an_untrained_teacher_waits_in_the_line_of_its_students(store, no_gpu):
    teacher = far(100, epochs=0)
    taught = dataclasses.replace(student(0, small_run(seed=100)), teacher=teacher, device="cuda")
    plans = [plan(taught, "a>b")]
    outcome, _ = survey.survey(grids.ordered(plans), store)
    found = survey.waiting(plans, outcome, survey.Throughput(store, []))
    assert found == ["q5 a>b: 2 wait for a GPU (cost not measured)"]
    alone = survey.waiting(
        [plan(teacher)], survey.Outcome(no_device=[teacher]), survey.Throughput(store, [])
    )
    assert alone == ["q5 mlp-16: 1 waits for a GPU (cost about 0 min)"]


def test_where_an_engine_may_send_runs_elsewhere_none_waits(store, no_gpu):
    outcome, missing = survey.survey([far(0)], store, elsewhere=True)
    assert (outcome.no_device, missing) == ([], [far(0)])


def test_torch_is_not_asked_for_a_gpu_where_there_is_no_driver(monkeypatch):
    from darkknowledge import run

    for driver, torch_says, here in (
        (False, True, False),
        (True, True, True),
        (True, False, False),
    ):
        monkeypatch.setattr(survey, "_has_driver", lambda driver=driver: driver)
        monkeypatch.setattr(run, "available", lambda device, says=torch_says: says)
        assert survey.available("cuda") is here
        assert survey.available("cpu")


@pytest.mark.parametrize("multiplies", [True, False])
def test_bf16_waits_for_a_processor_that_multiplies_it(store, monkeypatch, multiplies):
    monkeypatch.setattr(survey, "_multiplies_bf16", lambda: multiplies)
    plans = [
        plan(small_run(seed=0)),
        plan(dataclasses.replace(small_run(seed=1), precision="bf16")),
    ]
    outcome, missing = survey.survey(grids.ordered(plans), store)
    assert [spec.seed for spec in missing] == [0, 1][: 1 + multiplies]
    lines = survey.waiting(plans, outcome, survey.Throughput(store, []))
    waits = "q5 mlp-16: 1 waits for a CPU that multiplies bf16 (cost not measured)"
    assert lines == [waits][multiplies:]


def test_whether_this_processor_multiplies_bf16_is_known_without_torch():
    from darkknowledge import cost

    survey._multiplies_bf16.cache_clear()
    assert survey._multiplies_bf16() is cost.multiplies_bf16()


# -- time -------------------------------------------------------------------------------------------


def test_an_estimate_comes_from_the_same_net_or_else_from_the_slowest_on_its_device(store):
    known, slow, new = (small_run(seed=b, batch_size=b) for b in (64, 8, 32))
    keep(store, known, images_per_second=1000.0)
    keep(store, slow, images_per_second=10.0)
    throughput = survey.Throughput(store, [known, slow, new])
    images = survey._images(new)
    assert throughput.seconds(dataclasses.replace(known, seed=9)) == images / 1000
    assert throughput.seconds(new) == images / 10
    assert throughput.seconds(small_run(epochs=0)) == 1
    assert math.isnan(throughput.seconds(far(0)))


def test_the_time_left_is_told_per_device(store, monkeypatch):
    monkeypatch.setattr(survey, "cores", lambda: 4)
    throughput = survey.Throughput(store, [])
    throughput.note(small_run(), {"provenance": {"images_per_second": 1.0}})
    left = survey.time_left([small_run(), small_run(seed=1), far(0)], throughput)
    assert left == "about 66 min on cpu, 4 at a time; not measured on cuda, 6 at a time"
    assert survey.time_left([], throughput) == ""
