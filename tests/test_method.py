"""Figures of the method, and the supplement's tables that belong to no question."""

import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.special

from conftest import REPOSITORY
from darkknowledge.evidence import plots
from darkknowledge.paper import appendix, conventions, method
from darkknowledge.questions.q1_size.findings import latencies
from darkknowledge.records import RecordError
from fabricated import assert_held, found

#: Logits of one image of each class; the teacher takes the 0 for a 1.
LOGITS = np.array([[12.0 * (i == j) + ((i * j) % 7) for j in range(10)] for i in range(10)])
LOGITS[0] = [3, 9, 1, 1, 1, 1, 1, 1, 1, 1]


@pytest.fixture
def exhibit(tmp_path):
    """What a teacher says, and a contact sheet of ten rows of ten images."""
    plots.style()
    said, sheet = tmp_path / "soft_labels.json", tmp_path / "examples.png"
    said.write_text(json.dumps({"run_id": "a", "dataset": "mnist", "logits": LOGITS.tolist()}))
    plt.imsave(sheet, np.arange(6400).reshape(80, 80) % 251, cmap="gray")
    return said, sheet


def of_q2(**rest):
    return found("q2", **{"errors": lambda planned: 100 + 60 * (planned.arm == "hard")} | rest)


# -- figures ----------------------------------------------------------------------------------------


def test_the_kinds_of_distillation_are_drawn_in_full():
    plots.style()
    assert_held(method.kinds())


def test_soft_labels_are_those_of_the_teacher_and_flatten_with_the_temperature(exhibit):
    figure = method.soft_labels(*exhibit)
    lines = np.array(figure.axes).reshape(method.IMAGES, 4)
    assert [axis.get_title() for axis in lines[0]] == ["image", "T = 1", "T = 4", "T = 20"]
    for line, digit in zip(lines, method.instructive(LOGITS), strict=True):
        heights = np.array([[bar.get_height() for bar in axis.patches] for axis in line[1:]])
        expected = scipy.special.softmax(LOGITS[digit] / np.array(method.SHOWN)[:, None], axis=1)
        np.testing.assert_allclose(heights, expected)
        assert (np.diff(heights.max(1)) < 0).all()
        assert f"{100 * heights[0].max():.0f}" in [text.get_text() for text in line[1].texts]
    assert_held(figure)


def test_the_images_are_those_that_the_teacher_gets_right_and_says_most_about():
    assert 0 not in method.instructive(LOGITS) and len(method.instructive(LOGITS)) == method.IMAGES
    doctored = LOGITS.copy()
    left_out = next(c for c in range(1, 10) if c not in method.instructive(LOGITS))
    doctored[left_out, (left_out + 1) % 10] = doctored[left_out].max() - 0.1
    assert left_out in method.instructive(doctored)


def test_without_its_files_there_is_no_figure_and_a_broken_one_is_named(exhibit, tmp_path):
    (said, sheet), nowhere = exhibit, tmp_path / "nowhere"
    for files in ((nowhere, sheet), (said, nowhere), (said, None)):
        assert method.soft_labels(*files) is None
    said.write_text('{"logits": [1, 2]}')
    with pytest.raises(RecordError, match="soft_labels.json holds no soft labels"):
        method.soft_labels(said, sheet)
    assert method.samples({"mnist": nowhere}, {}) is None
    figure = method.samples(
        {"mnist": sheet, "folder": sheet, "cifar10": nowhere}, {"folder": ("a", "$b$")}
    )
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["MNIST", "folder"]
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["a", "$b$"]
    assert_held(figure)


# -- tables -----------------------------------------------------------------------------------------


def test_provenance_has_a_column_per_data_set_and_counts_what_differs():
    frames = {q: found(q, lambda planned: 100).frame for q in ("q2", "q5")}
    intel = {"vendor": "GenuineIntel", "capability": "AVX2", "bf16": False}
    another = {"processor": intel, "training_seconds": 36_000.0}
    frames["q2"]["record"][0]["provenance"] |= another
    facts = appendix.provenance(frames).set_index("item")
    every = pd.concat(frames.values()).drop_duplicates("run_id")
    mnist, images = every["dataset"].value_counts()[["mnist", "cifar10_jpeg"]]
    assert facts.loc["records"].to_dict() == {"MNIST": str(mnist), "CIFAR-10 (JPEG)": str(images)}
    assert facts.loc["processors"].tolist() == [
        f"none, none, bf16 ({mnist - 1} runs); GenuineIntel, AVX2, no bf16 (1 run)",
        "none, none, bf16",
    ]
    assert facts.loc["hours of training", "MNIST"] == f"{10 + (mnist - 1) / 3600:.1f}"
    assert facts.loc["blocks", "MNIST"] == "200 to 209"
    assert facts.loc["fingerprint (SHA-256)"].nunique() == 2
    assert appendix.moved({"q5": frames["q5"]}) is appendix.moved({}) is None
    first = frames["q2"].iloc[0]
    told = f"{first['family']} (1 in block {first['block']})"
    assert appendix.moved(frames) == {"runs": 1, "families": [told]}
    assert appendix.provenance({}).empty
    assert appendix.provenance({"q2": of_q2(measured=lambda planned: False).frame}).empty


SEARCH = REPOSITORY / "results" / "paper" / "search.csv"


def test_the_search_has_a_row_per_candidate_and_describes_it_in_words(tmp_path):
    raw, table = pd.read_csv(SEARCH, dtype=str, keep_default_na=False), appendix.search(SEARCH)
    own = raw.columns.difference(appendix.OF_A_RUN)
    assert len(table) == len(raw.drop_duplicates([*own, "teacher_run_id"]))
    again = raw.tail(1).assign(run_id="ff", seed="901", validation_errors="90")
    doctored = tmp_path / "search.csv"
    pd.concat([raw.tail(1).assign(validation_errors="70"), again]).to_csv(doctored, index=False)
    (line,) = appendix.search(doctored).to_dict("records")
    assert (line["seeds"], line["errors of 5,000"]) == ("2", "80.0")
    assert appendix.search(tmp_path / "nowhere.csv").empty
    assert {"MNIST, 1\N{NO-BREAK SPACE}% of the images", "MNIST, only the classes 7 and 8"} <= set(
        table["data"]
    )
    said = set(table[["network", "learns from", "recipe"]].itertuples(index=False, name=None))
    assert said >= {
        ("1,200-unit network", "hard labels",
         "AdamW 0.002, weight decay 0.01, one-cycle, jitter, dropout 0.2 and 0.5"),
        ("800-unit network", "distilled from the 1,200-unit network, T = 4, α = 0.9",
         "SGD 0.2, momentum 0.9, one-cycle"),
    }  # fmt: skip


BROKEN = (b"", b"\x00\xff", b"arm,run_id\n", b"<!doctype html>", b"{}", b"[1]", b"a,b\n1,2\n")


@pytest.mark.parametrize("content", BROKEN)
def test_a_damaged_exhibit_is_refused_by_its_name_in_one_sentence(exhibit, tmp_path, content):
    soft, whole = exhibit
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    findings = dataclasses.replace(of_q2(), files={"latency": broken})
    for use in (
        lambda: appendix.search(broken),
        lambda: method.samples({"mnist": broken}, {}),
        lambda: method.soft_labels(soft, broken),
        lambda: method.soft_labels(broken, whole),
        lambda: latencies(findings),
    ):
        with pytest.raises(RecordError, match=str(broken)) as error:
            use()
        assert "\n" not in str(error.value)


def test_students_of_teachers_that_were_trained_otherwise_are_two_candidates(tmp_path):
    raw = pd.read_csv(SEARCH, dtype=str)
    student = raw[raw["teacher_run_id"].notna()].iloc[[0]]
    teacher = raw[raw["run_id"] == student["teacher_run_id"].iloc[0]]
    for change, rows in (({"seed": "901"}, 2), ({"epochs": "1"}, 4)):
        other = teacher.assign(run_id="ff", **change)
        heir = student.assign(run_id="fe", teacher_run_id="ff")
        pd.concat([teacher, student, other, heir]).to_csv(tmp_path / "search.csv", index=False)
        assert len(appendix.search(tmp_path / "search.csv")) == rows


def test_every_measured_claim_names_its_runs():
    f = of_q2(measured=lambda planned: planned.arm in ("teacher", "hard", "kd"))
    table = appendix.run_ids({"q2": f.claims, "q3": {}})
    assert list(table["claim"]) == [c.id for c in f.claims.values() if c.measured]
    assert len(table) < len(f.claims)
    assert table["runs"][0].split() == [run[:6] for run in f.claims["kd_vs_hard"].run_ids]


def test_speed_and_conventions_have_the_rows_of_their_source():
    bench = pd.DataFrame(
        {
            "case": ["a", "a"], "variant": ["usual", "ours"], "images_per_second": [1000.4, np.nan],
            "ratio": [1, 2.5], "spread": [0.05, 0.01], "share": [0.5, 0.9], "threads": [2.0, 2.0],
            "device_name": ["one", "one"],
        }
    )  # fmt: skip
    first, second = appendix.speed(bench).values.tolist()
    assert first == ["one, 2 threads", "a", "usual", "1,000", "1.00", "5", "50"]
    assert second[3:5] == ["—", "2.50"]
    assert appendix.speed(None).empty
    weights = conventions.table()["*w*~soft~"].tolist()
    assert weights == ["0.9", "0.09", "0.005", "0.09", "0.5", "0.9"]
