"""One count of what is stored, missing, diverged and waiting, and what the rest will cost."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from conftest import small_run, student, synthetic_data, whole_record
from darkknowledge import devices, study
from darkknowledge.experiment import survey
from darkknowledge.layout import processor_words
from darkknowledge.paper.paper import Paper
from darkknowledge.questions import params, registry
from darkknowledge.questions.base import Planned, ordered
from darkknowledge.records import Run, Store, named_in
from darkknowledge.spec import LossSpec, ModelSpec, RunSpec

CHOSEN = {q: params.read("quick", q) for q in params.questions_of("quick")}
PLANS = registry.grids(CHOSEN)


def keep(store: Store, spec: RunSpec, **provenance) -> None:
    record = whole_record(spec)
    record["provenance"] |= provenance
    store.write(spec.data.name, record)


def lose(store: Store, spec: RunSpec) -> None:
    note = {"run_id": spec.run_id, "spec": spec.full(), "reason": "It is not finite."}
    store.write_diverged(spec.data.name, note)


def plan(spec: RunSpec, question: str = "q5", block: int = 0) -> Planned:
    return Planned(question, "family", "kd", block, spec)


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(survey, "trainable", lambda device, precision: device == "cpu")


def waiting(plans, store, throughput=None, outcome=None) -> list[str]:
    outcome = outcome or survey.survey(survey.specs(plans), store)[0]
    return survey.waiting(plans, outcome, throughput or survey.Throughput(store, []))


# -- one count --------------------------------------------------------------------------------------


def test_status_train_and_the_report_count_alike(store, no_gpu):
    """The report counts by the tables, the commands by the plans, which name the same runs."""
    planned = ordered(PLANS.values())
    specs = survey.specs(planned)
    for spec in specs[::3]:
        keep(store, spec)
    lose(store, next(spec for spec in specs[1:] if spec.teacher and spec not in specs[::3]))
    for question, of in PLANS.items():
        frame = study.write_table(question, CHOSEN[question], store)
        assert {r.run_id for r in named_in(frame)} == {s.run_id for s in survey.specs(of)}
    outcome, missing = survey.survey(specs, store)
    line, told = (
        survey.counts("quick", planned, outcome),
        str(Paper.load("quick", store.root).progress()),
    )
    stored, _, lost = told.partition(" (1 diverged")
    assert line.startswith(f"quick: {stored} runs stored, 1 dive") and lost
    stored, every = map(int, re.search(r"(\d+) of (\d+) runs", line).groups())
    others = [int(n) for n in re.findall(r"(\d+) (?:diverged|missing|wait)", line)]
    assert stored == len(outcome.stored) == len(specs[::3])
    assert stored + sum(others) == every == len(specs)  # each is counted in one place only


def test_a_run_is_stored_diverged_or_missing_and_never_two_of_them(store):
    teacher, lost = small_run(seed=100), small_run(seed=101)
    of = ((teacher, 0), (lost, 1), (lost, 2), (teacher, 3))
    kept, orphan, heir, due = (student(source, seed=seed) for source, seed in of)
    second = dataclasses.replace(orphan, seed=4, teacher=orphan)
    for spec in (teacher, kept, heir):  # one student had learnt before its teacher's note was made
        keep(store, spec)
    lose(store, lost)
    specs = [teacher, lost, kept, orphan, heir, due, second]
    found = store.progress([*survey.named(specs), *survey.named(specs)])
    assert found.stored == [s.run_id for s in (teacher, kept, heir)]
    assert found.diverged == [s.run_id for s in (lost, orphan, second)]
    assert found.missing == [due.run_id] and str(found) == "3 of 7 (3 diverged)"
    outcome, missing = survey.survey(specs, store)
    assert set(outcome.diverged) == set(found.diverged)
    assert outcome.diverged[lost.run_id] == "It is not finite."
    assert outcome.diverged[second.run_id] == survey.no_teacher(second)
    # Its weights are not here, and a student needs them.
    assert (outcome.stored, missing) == ([teacher, kept, heir], [teacher, due])


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_is_named_twice_keeps_its_teacher(store, first):
    """A table names a teacher by its student's row first, without the teacher's own teacher."""
    lost = small_run(seed=101)
    lose(store, lost)
    runs = [Run("mnist5k", lost.run_id), Run("mnist5k", "b", lost.run_id * first)]
    runs += [Run("mnist5k", "c", "b"), Run("mnist5k", "b", lost.run_id)]
    assert store.progress(runs).diverged == [lost.run_id, "b", "c"]


# -- what is not here -------------------------------------------------------------------------------


def far(seed: int, **changes) -> RunSpec:
    return dataclasses.replace(small_run(seed=seed, **changes), device="cuda")


def test_what_waits_for_a_device_is_one_line_per_net_of_a_question_with_its_cost(store, no_gpu):
    wide = dataclasses.replace(far(0).model, hidden=(20,))
    plans = [plan(far(s, epochs=6, **({"model": wide} if s % 2 else {}))) for s in range(40)]
    plans += [plan(far(s, epochs=4), "q1") for s in range(3)] + [plan(small_run(seed=7))]
    assert survey.survey(survey.specs(plans), store)[1] == [plans[-1].spec]
    assert waiting(plans, store) == [
        "q5 mlp-16: 20 wait for a GPU (cost not measured)",
        "q5 mlp-20: 20 wait for a GPU (cost not measured)",
        "q1 mlp-16: 3 wait for a GPU (cost not measured)",
    ]
    # Six side by side: 20 runs of 6 epochs of 3950 images each, at 100 images a second.
    throughput = survey.Throughput(store, [])
    throughput.note(plans[0].spec, {"provenance": {"images_per_second": 100.0}})
    assert "(cost about 13 min)" in waiting(plans, store, throughput)[0]


def test_an_untrained_teacher_waits_in_the_line_of_its_students(store, no_gpu):
    teacher = far(100, epochs=0)
    taught = student(teacher, device="cuda")
    outcome, _ = survey.survey([teacher, taught], store)
    found = waiting([plan(taught)], store, outcome=outcome)
    assert found == ["q5 mlp-16: 2 wait for a GPU (cost not measured)"]
    alone = waiting([plan(teacher)], store)
    assert alone == ["q5 mlp-16: 1 waits for a GPU (cost about 1 s)"]


@pytest.mark.parametrize("driver, torch_says", [(False, True), (True, True), (True, False)])
def test_torch_is_not_asked_for_a_gpu_where_there_is_no_driver(monkeypatch, driver, torch_says):
    monkeypatch.setattr(devices, "_has_driver", lambda: driver)
    monkeypatch.setattr("torch.cuda.is_available", lambda: torch_says)
    assert devices.available("cuda") is (driver and torch_says)
    assert devices.available("cpu")


@pytest.mark.parametrize("multiplies", [True, False])
def test_bf16_waits_for_a_processor_that_multiplies_it(store, monkeypatch, multiplies):
    monkeypatch.setattr(devices, "multiplies_bf16", lambda: multiplies)
    specs = [small_run(seed=0), dataclasses.replace(small_run(seed=1), precision="bf16")]
    assert [s.seed for s in survey.survey(specs, store)[1]] == [0, 1][: 1 + multiplies]
    waits = "q5 mlp-16: 1 waits for a CPU that multiplies bf16 (cost not measured)"
    assert waiting(list(map(plan, specs)), store) == [waits][multiplies:]


# -- processors -------------------------------------------------------------------------------------

HERE = {"vendor": "Mine", "capability": "AVX512", "bf16": True}
OTHER = {"vendor": "Other", "capability": "AVX2", "bf16": False}


def test_amx_makes_another_type_of_processor_unless_it_is_held_to_avx_512(monkeypatch):
    """Records from before it was noted speak of processors without."""
    assert processor_words(HERE) == processor_words(HERE | {"amx": False})
    assert processor_words(HERE | {"amx": True}) == "Mine, AVX512, bf16 by AMX"
    monkeypatch.setattr(devices, "_has", lambda *names: "amx_bf16" in names)
    for most, by in (
        ("", True),
        ("all", True),
        ("AVX512_CORE_BF16", False),
        ("avx512_core_amx", True),
    ):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
        assert devices.processor()["amx"] is by
    monkeypatch.setattr(devices, "_has", lambda *names: "avx512_bf16" in names)
    assert devices.processor()["amx"] is False


def test_a_missing_run_belongs_to_the_processor_that_most_of_its_block_comes_from(
    store, monkeypatch
):
    """And to one type of GPU, whatever processor that has beside it."""
    monkeypatch.setattr(devices, "processor", lambda: HERE)
    monkeypatch.setattr(devices, "available", lambda device: True)
    monkeypatch.setattr(devices, "device_name", {"cuda": "H200"}.get)
    begun = {0: [OTHER], 1: [HERE], 2: [HERE, OTHER, OTHER], 3: [], 4: [OTHER, HERE, HERE]}
    planned = [plan(small_run(seed=10 * b + i), block=b) for b in begun for i in range(4)]
    elsewhere = dataclasses.replace(planned[0].spec.data, name="mnist")
    planned.append(plan(small_run(seed=0, data=elsewhere)))  # the same block on other data
    for block, processors in begun.items():
        of = [one.spec for one in planned if one.block == block]
        for spec, processor in zip(of, processors, strict=False):
            keep(store, spec, processor=processor)
    for seed, gpu, processor in ((100, "H200", OTHER), (200, "A100", HERE)):
        planned += (block := [plan(far(seed + i), block=seed) for i in range(2)])
        keep(store, block[0].spec, device_name=gpu, processor=processor)
    due, found = survey.startable(planned, store)
    words = {**dict.fromkeys((0, 2), "Other, AVX2, no bf16"), 200: "A100"}
    assert set(found) == {s.run_id for s in survey.specs(planned)} - {s.run_id for s in due}
    planned = [one for one in planned if one.spec.data.name != "mnist"]
    assert found == {
        one.spec.run_id: words[one.block]
        for one in planned
        if one.block in words and not store.read("mnist5k", one.spec.run_id)
    }


# -- time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subset, part",
    [
        ({}, 1),
        ({"omit": (3,)}, 0.9),
        ({"keep": (7, 8), "share": 0.5}, 0.1),
        ({"share": 0.1, "complement": True}, 0.9),
        ({"share": 0.1, "unlabelled": True}, 1),
    ],
)
def test_a_run_learns_from_each_image_that_it_has(subset, part):
    loss = LossSpec("kd", 4.0, 0.0, 1.0)
    run = small_run(data=synthetic_data(**subset), loss=loss, teacher=small_run())
    assert survey.portion(run) == pytest.approx(part)


def test_a_data_set_of_ones_own_is_as_large_as_its_runs_say(store):
    own = dict(name="own", fingerprint="a", side=16, share=0.5)
    half = small_run(data=synthetic_data(**own))
    whole = small_run(data=dataclasses.replace(half.data, share=1.0))
    throughput = survey.Throughput(store, [])
    throughput.note(small_run(), {"provenance": {"images_per_second": 10.0}})
    assert math.isnan(throughput.seconds(whole))  # nobody knows how many images it has
    throughput.note(half, {"provenance": {"images_per_second": 10.0, "training_images": 70}})
    assert throughput.seconds(whole) == 2 * 140 / 10  # two epochs


def test_an_estimate_comes_from_the_same_net_or_else_from_the_slowest_of_its_kind_or_device(
    store, monkeypatch
):
    known, slow, new = (small_run(seed=b, batch_size=b) for b in (64, 8, 32))
    keep(store, known, images_per_second=1000.0)
    keep(store, slow, images_per_second=10.0)
    throughput = survey.Throughput(store, [known, slow, new])
    images = 2 * (4000 - 50)
    assert throughput.seconds(dataclasses.replace(known, seed=9)) == images / 1000
    assert throughput.seconds(new) == images / 10
    other = dataclasses.replace(new, model=ModelSpec("plain_cnn"))
    assert throughput.seconds(other) == images / 10
    keep(store, other, images_per_second=1.0)
    throughput = survey.Throughput(store, [known, slow, other])
    assert (throughput.seconds(other), throughput.seconds(new)) == (images, images / 10)
    assert throughput.seconds(small_run(epochs=0)) == 1
    assert math.isnan(throughput.seconds(far(0)))
    monkeypatch.setattr(survey, "side_by_side", {"cpu": 4, "cuda": 6}.get)
    left = survey.time_left([new, dataclasses.replace(new, seed=1), far(0)], throughput)
    assert left == "about 7 min on cpu, 4 at a time; not measured on cuda, 6 at a time"
    assert survey.time_left([], throughput) == ""


def test_a_run_that_was_held_up_says_nothing_of_others(store):
    runs = [small_run(seed=seed) for seed in range(3)]
    for spec, rate in zip(runs, (1000.0, 1.0, 1000.0), strict=True):
        keep(store, spec, images_per_second=rate)
    throughput = survey.Throughput(store, runs)
    for spec in (runs[1], small_run(batch_size=8)):
        assert throughput.seconds(spec) == 2 * (4000 - 50) / 1000
