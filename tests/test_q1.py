"""Q1: the sentence follows the records."""

import dataclasses
import random

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from darkknowledge.evidence.stats import Verdict
from darkknowledge.paper.paper import find
from darkknowledge.questions import params
from darkknowledge.questions.q1_size import exhibits
from darkknowledge.questions.q1_size.findings import LITERATURE, nets, values
from fabricated import LABELS, TRUTH, frame_of, told

#: Test errors by arm and width where training is worth much and size little.
ERRORS = {
    "teacher": {1200: 82, 300: 82},
    "hard_augmented": {800: 88, 300: 101, 100: 120, 30: 300},
    "hard": {1200: 146, 800: 150, 300: 171, 100: 222, 30: 350},
}


def errors(spread=4, **changes):
    """Up to ``spread`` errors more or fewer by chance; ``changes`` are of arms at the main sizes."""

    def of(planned) -> int:
        usual = ERRORS[planned.arm][planned.spec.model.hidden[0]]
        mean = changes.get(planned.arm, usual) if planned.primary else usual
        return round(mean + random.Random(planned.spec.run_id).uniform(-spread, spread))

    return of


def found(wrong, profile="paper", **rest):
    frame = frame_of("q1", wrong, chosen=params.read(profile, "q1"), **rest)
    return find("q1", frame, LABELS | {"mnist": 10 * TRUTH})


def test_what_size_and_what_training_is_worth_come_first():
    f = found(errors())
    assert f.claims["large_vs_small"].verdict is Verdict.BETTER_SLIGHTLY
    gain, said = values(f)["gain"], told(f)
    first, training = f"{gain['size']:.1f} errors fewer, less ", f"{gain['training']:.1f} of "
    assert said.startswith(f"**Trained alike, the larger network makes {first}")
    assert f"the small like the large one removes {training}" in said.split("**")[1]
    assert "1.9 times the parameters." in said and "Train the small network like the" in said
    assert "less than matters" in told(f, "headline") and "; dropout takes" in told(f, "believe")
    assert f.sample(**LITERATURE["hinton-student-parameters"]).mean == 1276810
    for record in filter(None, f.frame["record"]):
        record["spec"]["model"] |= {"dropout_input": 0.0, "dropout_hidden": 0.0}
    assert "With augmentation the 1,200" in told(f) and "nd dropout" not in told(f)


ALIKE = "1,200 and 800 units, trained alike, make no difference"
OUTCOMES = {
    "BETTER": (errors(teacher=60), "Trained alike, the larger", "Trained alike, size removes"),
    "WORSE": (errors(teacher=120), "Trained alike, the larger", "The larger network makes"),
    "EQUIVALENT": (
        errors(hard_augmented=82),
        ALIKE,
        "1,200 and 800 units, trained alike: no difference",
    ),
    "IMPRECISE": (errors(60), "What size is worth between", "Size, trained alike: too"),
}


@pytest.mark.parametrize("verdict", OUTCOMES)
def test_other_outcomes_have_their_own_words(verdict):
    wrong, bold, short = OUTCOMES[verdict]
    f = found(wrong, measured=lambda planned: planned.primary)
    assert f.claims["large_vs_small"].verdict is Verdict[verdict]
    said = told(f)
    assert said.startswith(f"**{bold}") and "matters," not in said and "Without" not in said
    assert ("Train the small" in said) == (verdict != "IMPRECISE")
    assert "large one removes" in said and told(f, "headline").startswith(short)


@pytest.mark.parametrize("augmented", [150, 190])
def test_nobody_is_told_to_augment_where_it_does_not_help(augmented):
    wrong = errors(hard_augmented=augmented, teacher=augmented + 20)
    f = found(wrong, measured=lambda planned: planned.primary)
    said = " ".join(told(f, block) for block in ("answer", "caption", "headline"))
    assert "large one removes" not in said and "Train the small" not in said
    assert "For the smaller one, training with augmentation and dropout means" in said


def test_eight_bits_and_latencies_are_told_only_where_they_were_measured(tmp_path):
    f, path = found(errors()), tmp_path / "latency.csv"
    runs = [f.rows(arm=arm)["run_id"].iloc[0] for arm in ("teacher", "hard")]
    rows = {"arm": "any", "run_id": [*runs, "0" * 16], "median": [3e-4, 2e-4, 9.0], "iqr": 1e-6}
    rows |= {"batch": 1, "threads": 1, "device_name": "a machine"}
    pd.DataFrame(rows).to_csv(path, index=False)
    f = dataclasses.replace(f, files={"latency": path})
    for record in f.rows(arm="hard")["record"]:
        record["test_int8"]["errors"] += 5
    gain = values(f)["gain"]["training"]
    assert f"eight bits, training it like the large one is worth {gain + 5:.1f} errors." in told(
        f, "believe"
    )
    assert "300 µs for one image, not 200" in told(f) and "a machine" in told(f, "limits")
    column = exhibits.costs(f).set_index("network")["latency, 1 image (IQR)"]
    assert set(column["1,200-unit network"]) == {
        "300\N{NO-BREAK SPACE}µs (1\N{NO-BREAK SPACE}µs)"
    } and not any(column[-4:])
    path.unlink()
    for record in f.frame["record"]:
        del record["test_int8"]
    said = " ".join(told(f, block) for block in ("answer", "believe", "limits"))
    assert not any(word in said for word in ("one image", "Latenc", "eight"))
    assert {column.name, "with eight-bit weights"}.isdisjoint(exhibits.costs(f))


@pytest.mark.parametrize("profile", ["paper", "quick"])
def test_the_exhibits_show_every_network_of_the_profile(profile):
    f = found(errors(), profile)
    axis = exhibits.errors_by_size(f).axes[0]
    shown = [len(line.get_xdata()) for line in axis.lines]  # single points are lines too
    curves = sorted(n for n in shown if n > 1)
    assert curves == {"paper": [5, 5], "quick": [2, 3]}[profile]
    assert sum(curves) == len(exhibits.costs(f)) == len(exhibits.TABLES["arms"](f))
    assert ("published" in [t.get_text() for t in axis.texts]) == (profile == "paper")
    assert axis.get_ylim()[0] == 0
    plt.close("all")
    assert nets(f)[2] == {"paper": "mlp-300-300", "quick": "mlp-30-30"}[profile]
