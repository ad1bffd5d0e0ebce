"""Sentences follow the records: fabricated records here, so that every verdict can be forced."""

import random
import re

import pytest

from darkknowledge import claims, params, study, tables
from darkknowledge.answers.common import HARD, KD
from darkknowledge.paper import Paper, without_references
from darkknowledge.records import LABELS, Store

IMAGES = 1000
TRUTH = "".join(str(i % 10) for i in range(IMAGES))


def fabricate(store: Store, plan: study.Planned, errors: int) -> None:
    """A record as :mod:`darkknowledge.run` writes them, with a chosen number of errors."""
    spec = plan.spec
    wrong = set(random.Random(spec.run_id).sample(range(IMAGES), errors))
    part = {
        "n": IMAGES,
        "errors": errors,
        "accuracy": 1 - errors / IMAGES,
        "nll": 0.1,
        "ece": 0.02,
        "teacher_agreement": 0.97 if spec.teacher else None,
    }
    predictions = "".join(str((int(c) + 1) % 10) if i in wrong else c for i, c in enumerate(TRUTH))
    curve = [0.5, 0.4]
    store.write(
        spec.data.name,
        {
            "run_id": spec.run_id,
            "spec": spec.full(),
            "history": {"validation_accuracy": curve, "loss_hard": curve},
            "validation": part,
            "test": part,
            "predictions": predictions,
            "cost": {"parameters": 2, "flops": 4, "bytes_fp32": 8, "bytes_fp16": 4},
            "provenance": {
                "data": "fabricated",
                "training_images": 3500,
                "training_seconds": 1.0,
                "device_name": "none",
                "threads": 1,
                "versions": {"python": "3", "torch": "2", "torchvision": "0"},
            },
        },
    )


def paper_with(store: Store, errors, seeds=(0, 1, 2)) -> Paper:
    """Both questions of the quick profile, with errors as ``errors(plan)`` says."""
    store.keep("mnist5k", LABELS, TRUTH.encode())
    for question in ("q1", "q2"):
        chosen = params.read("quick", question)
        for plan in study.grid(question, chosen):
            if plan.role == "teacher" or plan.spec.seed in seeds:
                fabricate(store, plan, errors(plan))
        study.publish(question, chosen, store)
    return Paper.load("quick", store.root)


def plausible(plan: study.Planned, gain: int = 30) -> int:
    base = {"teacher": 40, "kd": 90 - gain, "soft_only": 88 - gain}.get(plan.arm, 90)
    return base + plan.spec.seed % 3 * 2


def test_a_clear_gain_is_called_better(store):
    paper = paper_with(store, plausible)
    claim = paper.answers["q2"].claims["q2.kd_vs_hard"]
    assert (claim.verdict, claim.effect.n) == ("better", 3)
    assert "distillation is **better**" in paper.answer("q2")
    assert "better than on true labels" in paper.abstract()


def test_doctored_records_turn_the_verdict_and_the_sentence(store):
    paper_with(store, plausible)
    for plan in study.grid("q2", params.read("quick", "q2")):
        if plan.arm == "kd":  # errors raised, checksum renewed; the table is left as it was
            fabricate(store, plan, plausible(plan, gain=-30))
    paper = Paper.load("quick", store.root)
    assert paper.answers["q2"].claims["q2.kd_vs_hard"].verdict == "worse"
    assert "distillation is **worse**" in paper.answer("q2")
    assert "it is **better** than true labels" in paper.answer(
        "q2"
    )  # the soft-only arm is untouched


def test_without_a_gain_nothing_is_claimed(store):
    noise = {0: 7, 1: -6, 2: 1}
    paper = paper_with(store, lambda p: 90 + (noise[p.spec.seed % 3] if p.arm == "kd" else 0))
    assert "distillation is **inconclusive**" in paper.answer("q2")


def test_a_single_seed_decides_nothing(store):
    paper = paper_with(store, plausible, seeds=(0,))
    claim = paper.answers["q2"].claims["q2.kd_vs_hard"]
    assert (claim.effect.n, claim.planned, claim.verdict) == (1, 3, "inconclusive")
    assert "1 of 3 teachers" in paper.answer("q2")


def test_a_control_that_beats_distillation_is_named_so(store):
    paper = paper_with(store, lambda p: 20 if p.arm == "uniform_teacher" else plausible(p))
    assert re.search(r"\*\*worse\*\* than uniform teacher", paper.answer("q2"))


def test_without_students_the_answer_says_not_measured(store):
    paper = paper_with(store, plausible, seeds=())
    assert "Not measured at these settings" in paper.answer("q2")
    assert "Not measured at these settings" in paper.answer("q1")


def test_a_profile_without_a_question_shows_so_instead_of_crashing(store):
    paper_with(store, plausible)
    store.table_path("quick", "q2").unlink()
    paper = Paper.load("quick", store.root)
    assert paper.answer("q2") == paper.table("q2") == "*Not part of this profile.*"
    assert paper.figure("q2") is None


def test_quick_answers_do_not_compare_themselves_with_the_published_numbers(store):
    assert "not comparable" in paper_with(store, plausible).answer("q2")


@pytest.mark.parametrize("name", ["q1", "q2", "q2-claims", "q2-mcnemar", "provenance"])
def test_tables_are_pipe_tables_without_gaps(store, name):
    lines = paper_with(store, plausible).table(name).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "nan" not in "\n".join(lines).lower()


@pytest.mark.parametrize("name", ["q1", "q2", "q2-curves", "kinds"])
def test_figures_show_something(store, name):
    figure = paper_with(store, plausible).figure(name)
    assert all(axis.has_data() or axis.patches for axis in figure.axes)


def test_the_claim_list_and_the_answer_agree(store):
    paper = paper_with(store, plausible)
    found = paper.answers["q2"].claims
    listed = tables.claim_list(found)
    assert len(listed) == len(found)
    assert listed["verdict"].tolist() == [f"**{c.verdict}**" for c in found.values()]


def test_the_difference_is_averaged_within_a_teacher(store):
    paper = paper_with(store, plausible)
    pairs = claims.pairs(paper.frames["q2"], KD, HARD)
    assert pairs["cluster"].nunique() == 3
    assert set(pairs["cluster"]) == {100, 101, 102}


def test_a_notebook_shows_no_raw_cross_references():
    text = without_references("as in @sec-q2, chosen (@tbl-tuning).")
    assert "@" not in text
