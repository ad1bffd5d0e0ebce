"""The path as a newcomer takes it: notebooks through Papermill, records, a rendered report."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

import browser
from darkknowledge.experiment import data, models
from darkknowledge.experiment.published import network
from darkknowledge.paper import notebooks
from darkknowledge.questions.registry import QUESTIONS
from page import Page
from small_project import REPOSITORY, call, command, here, record_times

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(project) -> Path:
    """The small project after ``darkknowledge run quick``."""
    done = call(project, "run", "quick")
    assert "WARNING" not in done.stderr
    return project


def shown(notebook: Path) -> dict[str, str]:
    """The texts that an executed notebook shows: its answer, its claims, its arms."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [
        "".join(output["data"]["text/markdown"])
        for cell in cells
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    return dict(zip(("answer", "claims", "arms"), texts, strict=True))


def papermill(project: Path, question: str, *changes: str):
    """A question's notebook on the quick parameters with changes, by plain papermill."""
    notebook = f"report/notebooks/{notebooks.path_of(question).name}"
    words = ("papermill", notebook, "out.ipynb", "-k", "python3", "--no-progress-bar")
    return command(project, *words, "-f", f"params/quick/{question}.yaml", *changes)


def test_the_notebooks_train_every_run_and_show_an_answer_a_figure_and_tables(project):
    for question in QUESTIONS:
        frame = pd.read_csv(project / "results" / "quick" / f"{question}.csv")
        executed = project / "results" / "quick" / notebooks.path_of(question).name
        found = shown(executed)
        assert re.search(r"too few\b.* for a verdict", found["answer"])  # there are two blocks
        assert found["claims"].count("\n") > 2 and found["arms"].count("\n") > 3
        assert "image/png" in executed.read_text(encoding="utf-8")
        for _, row in frame.iterrows():
            path = project / "results" / "runs" / row["dataset"] / f"{row['run_id']}.json"
            test = json.loads(path.read_text())["test"]
            assert (row["test_errors"], row["nll"]) == (test["errors"], test["nll"])


@pytest.mark.parametrize(
    ("question", "changes", "new", "table", "says"),
    [
        # One temperature on the way, one beyond, at two widths, in two blocks.
        ("q3", "{profile: mine, temperatures: [3, 11]}", 8, "mine", "11"),
        # Of the student that learned from smoothed labels.
        ("q2", "{profile: mine, smoothing: 0.3}", 2, "mine", "smoothing"),
        # Fewer blocks of a shipped profile, whose own table stays as it is.
        ("q1", "{blocks: [0], n_sizes: 1}", 0, "custom", "independent pair"),
    ],
)
def test_changed_parameters_train_only_what_is_missing_and_what_is_shown_follows(
    project, question, changes, new, table, says
):
    before, shipped = record_times(project), project / "results" / "quick" / f"{question}.csv"
    content = shipped.read_bytes()
    papermill(project, question, "-y", changes)
    after = record_times(project)
    assert {k: after[k] for k in before} == before and len(after) - len(before) == new
    assert shipped.read_bytes() == content
    assert (project / "results" / table / f"{question}.csv").exists()
    assert says in " ".join(shown(project / "out.ipynb").values())


def test_the_claims_of_a_profile_are_listed_for_people_and_for_machines(project):
    done = here(project, "claims", "quick", "q2", "--json")
    listed = {claim["id"]: claim for claim in json.loads(done.stdout)}
    claim = listed["q2.kd_vs_hard"]
    assert claim["n"] == claim["planned"] == 2 and len(claim["runs"]) == 4
    names = {path.stem for path in project.glob("results/runs/*/*.json")}
    assert {run for c in listed.values() for run in c["runs"]} <= names
    plain = here(project, "claims", "quick")
    assert f"q2.kd_vs_hard: {claim['verdict']}" in plain.stdout
    assert {line.split(".")[0] for line in plain.stdout.splitlines()} == set(QUESTIONS)


def test_published_weights_keep_what_their_card_says(project):
    done = here(project, "weights", "quick")
    cards = [Path(line) for line in done.stdout.splitlines() if line.endswith(".json")]
    assert len(cards) == 8  # teacher, student on hard labels and distilled, without threes; Q5, Q6
    for card in cards:
        done = here(project, "evaluate", weights := str(card.with_suffix(".safetensors")))
        errors = json.loads(card.read_text())["test_errors"]
        assert done.stdout.startswith(f"{errors} errors of 1000 ({errors} on the card)")
    image = next(project.glob("results/runs/mnist5k/test_examples.png"))
    for path, code in ((image, 0), ("_quarto.yml", 1)):
        done = here(project, "predict", weights, str(path), code=code)
        assert str(path) in done.stdout + done.stderr
    assert "cannot be read as a PNG or JPEG" in done.stderr


def edition(project: Path, *formats: str) -> list[Path]:
    """The files of a rendered report."""
    done = call(project, "render", "quick", "--to", *formats)
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert len(paths) == 2 * len(formats) and all(path.is_file() for path in paths)
    return paths


@pytest.fixture(scope="module")
def rendered(project) -> list[Path]:
    """The report in all formats, made of the records alone."""
    before = record_times(project)
    paths = edition(project, "html", "typst", "gfm")
    assert record_times(project) == before
    return paths


def test_the_same_records_give_the_same_edition(project, rendered):
    """But for the ids of clip paths, in which Matplotlib hashes the last bit of a layout."""

    def content(paths: list[Path]) -> list[bytes]:
        figures = sorted((paths[0].parent / "figures").glob("*.svg"))
        assert len(figures) > 5
        drawn = [re.sub(rb"\bp[0-9a-f]{10}\b", b"clip", path.read_bytes()) for path in figures]
        return [*drawn, *(path.read_bytes() for path in paths if path.suffix == ".md")]

    first = content(rendered)
    for word in (b"**Abstract.**", b"**Why believe it.**", b"Table 1", b"Figure 1"):
        assert word in first[-2].replace("\N{NO-BREAK SPACE}".encode(), b" "), word
    assert content(edition(project, "gfm")) == first


# -- the page in a browser --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driven(rendered, tmp_path_factory) -> dict:
    """What happens in the quick profile's page when somebody uses it."""
    if not browser.COMMAND:
        pytest.skip("there is no Chromium here")
    use = (REPOSITORY / "tests" / "use_page.js").read_text(encoding="utf-8")
    with browser.Browser(tmp_path_factory.mktemp("browser")) as chromium:
        return chromium.use(rendered[0], use)


def test_the_page_softens_labels_as_the_loss_does(project, driven):
    body = json.loads((project / "results" / "quick" / "q2_soft_labels.json").read_text())
    for said, logits in zip(driven["soft"], np.array(body["logits"]), strict=True):
        p = softmax(logits / 2**6)
        first, second = np.argsort(-p, kind="stable")[:2]
        one, other = (f"{c} ({100 * p[c]:.0f}\xa0%)" for c in (first, second))
        assert said == f"Most likely: {one}, then {other}"


def test_networks_in_the_page_answer_as_their_weights_do_and_drawings_may_lie_anywhere(
    project, driven
):
    frame = pd.read_csv(project / "results" / "quick" / "q4.csv", dtype={"omitted": str})
    lacking = frame[(frame["arm"] == "kd") & (frame["omitted"] == "3")].iloc[0]
    weights = project / "results" / "weights" / f"{lacking['run_id']}.safetensors"
    assert here(project, "weights", "quick").returncode == 0  # writes their cards
    net, card = network(weights)
    test = data.load(card.data, None).test
    images = data.scaled(test.take(data.examples(test, 10, 1)[:, 0]).images)
    with torch.no_grad():
        found = models.int8(net)(images).numpy()
    path = project / "results" / "runs" / "mnist5k" / f"{lacking['run_id']}.json"
    record = json.loads(path.read_text())
    shifted = found + record["unseen"]["label_free"]["bias"] * (np.arange(10) == 3)
    for digit, said in enumerate(driven["samples"]):
        assert [int(words[0]) for words in said[2:]] == [
            x[digit].argmax() for x in (found, shifted)
        ]
    assert driven["left"] == driven["right"] and len(set(driven["left"])) > 1
    assert set(driven["cleared"]) == {"Nothing drawn yet", ""}


def test_every_table_of_the_page_can_be_saved_and_every_figure_enlarged(project, driven):
    path = project / "_output" / "quick" / "report" / "index.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert list(driven["csv"]) == [f"Save this table as {name}.csv" for name in driven["tables"]]
    first = driven["csv"]["Save this table as tbl-answers.csv"].split("\r\n")
    assert first[0] == '"Q","question","answer","difference"' and len(first) == 1 + len(QUESTIONS)
    assert driven["enlarged"] and driven["closed"]
    assert len(page.attributes("table")) == len(driven["tables"])


def test_a_click_on_the_head_of_a_column_sorts_by_its_numbers_another_turns_it_round(driven):
    (_, as_it_is), *by_click = driven["sorted"]
    numbers = [float(cell.split()[0].replace("−", "-").replace(",", "")) for cell in as_it_is]
    upwards = [
        cell for _, cell in sorted(zip(numbers, as_it_is, strict=True), key=lambda one: one[0])
    ]
    assert by_click == [["ascending", upwards], ["descending", upwards[::-1]]] and min(numbers) < 0
