"""The path as a newcomer takes it: notebooks through Papermill, records, a rendered report."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

import small_project
from darkknowledge import execution, notebooks
from small_project import REPOSITORY, call, command, here, record_times

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A small project after ``darkknowledge run quick``."""
    folder = small_project.make(tmp_path_factory.mktemp("with space") / "project")
    done = call(folder, "run", "quick")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def answer_of(notebook: Path) -> str:
    """The text that an executed notebook ends with."""
    cell = json.loads(notebook.read_text(encoding="utf-8"))["cells"][-1]
    return "".join(cell["outputs"][0]["data"]["text/markdown"])


def papermill(project: Path, question: str, *changes: str):
    """A question's notebook on the quick parameters with changes, by plain papermill."""
    return command(
        project,
        *("papermill", f"report/notebooks/{notebooks.NAMES[question]}", "out.ipynb"),
        *("-k", "python3", "-f", f"params/quick/{question}.yaml", "--no-progress-bar"),
        *changes,
    )


def test_the_notebooks_train_every_run_and_end_with_an_answer(project):
    for question, name in notebooks.NAMES.items():
        frame = pd.read_csv(project / "results" / "quick" / f"{question}.csv")
        assert frame["test_errors"].notna().all()
        executed = project / "results" / "quick" / name
        answer = answer_of(executed)
        assert ("**Labels.**" if question == "q7" else "**Found.**") in answer
        assert "Not measured" not in answer


def test_the_tables_repeat_the_records_numbers(project):
    frame = pd.read_csv(project / "results" / "quick" / "q2.csv")
    for _, row in frame.iterrows():
        path = project / "results" / "runs" / row["dataset"] / f"{row['run_id']}.json"
        record = json.loads(path.read_text())
        assert row["test_errors"] == record["test"]["errors"]
        assert row["nll"] == record["test"]["nll"]
        assert len(record["predictions"]) == record["test"]["n"] == 1000


def test_the_soft_labels_shown_are_the_first_teachers_of_the_first_image_of_each_class(project):
    results = project / "results"
    body = json.loads((results / "quick" / "q2_soft_labels.json").read_text())
    teacher = json.loads((results / "runs" / "mnist5k" / f"{body['run_id']}.json").read_text())
    labels = (results / "runs" / "mnist5k" / "test_labels.txt").read_text()
    said = [teacher["predictions"][labels.index(str(c))] for c in range(10)]
    assert [str(row.index(max(row))) for row in body["logits"]] == said
    assert teacher["spec"]["seed"] == 100


def test_a_second_run_trains_nothing(project):
    before = record_times(project)
    done = here(project, "train", "quick")
    assert done.returncode == 0
    assert f"0 runs trained, {len(before)} were stored already" in done.stdout
    assert record_times(project) == before


def test_another_temperature_trains_only_what_is_missing_and_the_answer_speaks_of_it(project):
    before = record_times(project)
    done = papermill(
        project, "q2", "-y", "{profile: my-temp, temperature: 3, controls: [], control_seeds: []}"
    )
    assert done.returncode == 0, done.stderr
    after = record_times(project)
    assert {k: after[k] for k in before} == before
    # KD at T = 3 for both weights and under both protocols, three seeds each.
    assert len(after) - len(before) == 9
    assert "T = 3" in answer_of(project / "out.ipynb")
    assert (project / "results" / "my-temp" / "q2.csv").exists()


def test_other_temperatures_of_q3_train_only_those_and_the_report_names_them(project):
    before = record_times(project)
    done = papermill(project, "q3", "-y", "{profile: my-temps, temperatures: [3, 11]}")
    assert done.returncode == 0, done.stderr
    after = record_times(project)
    assert {k: after[k] for k in before} == before
    assert len(after) - len(before) == 12  # two temperatures, two widths, three seeds
    assert "300 units: 3 and 11; 8 units: 3 and 11" in answer_of(project / "out.ipynb")
    done = call(project, "render", "my-temps", "--to", "gfm")
    assert done.returncode == 0, done.stderr
    text = Path(done.stdout.strip()).read_text(encoding="utf-8")
    assert "300 units: 3 and 11" in text
    assert text.count("Not part of this profile.") >= 6  # Q1, Q2 and Q4
    assert text.count(execution.NO_FIGURE) >= 6


def test_another_digit_is_omitted_by_one_parameter(project):
    before = record_times(project)
    done = papermill(project, "q4", "-y", "{profile: my-digit, omit_in_turn: [5]}")
    assert done.returncode == 0, done.stderr
    assert {k: v for k, v in record_times(project).items() if k in before} == before
    assert "With no fives in the transfer set" in answer_of(project / "out.ipynb")
    frame = pd.read_csv(project / "results" / "my-digit" / "q4.csv", dtype={"omitted": str})
    assert set(frame["omitted"].dropna()) == {"5"}
    assert frame.loc[frame["omitted"] == "5", "unseen_recall_validation"].notna().all()


def test_the_claims_of_a_profile_are_listed_for_people_and_for_machines(project):
    done = here(project, "claims", "quick", "q2", "--json")
    assert done.returncode == 0, done.stderr
    listed = {claim["id"]: claim for claim in json.loads(done.stdout)}
    claim = listed["q2.kd_vs_hard"]
    assert claim["n"] == claim["planned"] == 3 and len(claim["runs"]) == 6
    names = {path.stem for path in project.glob("results/runs/*/*.json")}
    assert {run for c in listed.values() for run in c["runs"]} <= names
    executed = project / "results" / "quick" / notebooks.NAMES["q2"]
    assert f"distillation is **{claim['verdict']}**" in answer_of(executed).replace("\n", " ")
    plain = here(project, "claims", "quick")
    assert f"q2.kd_vs_hard: {claim['verdict']}" in plain.stdout
    assert {line.split(".")[0] for line in plain.stdout.splitlines()} >= {"q1", "q3", "q4", "q7"}
    assert here(project, "claims", "quick", "q9").returncode == 2


def test_published_weights_keep_what_their_card_says(project):
    done = here(project, "weights", "quick")
    assert done.returncode == 0, done.stderr
    cards = [Path(line) for line in done.stdout.splitlines() if line.endswith(".json")]
    assert len(cards) == 4  # cumbersome, small and distilled net, and the one without threes
    for card in cards:
        done = here(project, "evaluate", str(card.with_suffix(".safetensors")))
        assert done.returncode == 0, done.stderr
        errors = json.loads(card.read_text())["test_errors"]
        assert done.stdout.startswith(f"{errors} errors of 1000 ({errors} on the card)")
    image = next(REPOSITORY.glob("results/runs/mnist/test_examples.png"))
    done = here(project, "predict", str(cards[0].with_suffix(".safetensors")), str(image))
    assert done.returncode == 0 and str(image) in done.stdout
    wrong = here(project, "predict", str(cards[0].with_suffix(".safetensors")), "_quarto.yml")
    assert wrong.returncode == 1 and "cannot be read as an image" in wrong.stderr


def test_output_that_nobody_reads_to_its_end_is_no_failure(project):
    shell = f"set -o pipefail; {sys.executable} -m darkknowledge status quick | head -n 1"
    done = command(project, "bash", "-c", shell)
    assert (done.returncode, done.stderr) == (0, "")


def test_changed_parameters_do_not_touch_the_shipped_profiles_table(project):
    table = project / "results" / "quick" / "q1.csv"
    before = table.read_bytes()
    done = papermill(project, "q1", "-y", "{seeds: [0, 1]}")
    assert done.returncode == 0, done.stderr
    assert table.read_bytes() == before
    assert len(pd.read_csv(project / "results" / "custom" / "q1.csv")) == 5


def test_a_misspelt_parameter_stops_the_notebook_before_any_training(project):
    before = record_times(project)
    done = command(
        project,
        *("papermill", "report/notebooks/q2_normal_distillation.ipynb", "out.ipynb"),
        *("-k", "python3", "-p", "temprature", "3", "--no-progress-bar"),
    )
    assert done.returncode == 1
    assert "did you mean 'temperature'?" in done.stderr
    assert record_times(project) == before


def test_help_of_a_notebook_explains_each_parameter(project):
    done = command(
        project, "papermill", "--help-notebook", "report/notebooks/q2_normal_distillation.ipynb"
    )
    assert "T, greater than 0" in done.stdout
    assert "student_recipe_kd" in done.stdout


def test_a_notebook_without_its_parameters_cell_is_refused(tmp_path):
    folder = small_project.make(tmp_path / "project")
    path = folder / "report" / "notebooks" / "q1_cumbersome_vs_small.ipynb"
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    path.write_text(json.dumps(notebook))
    done = here(folder, "run", "quick", "q1")
    assert done.returncode == 1
    assert "no cell tagged 'parameters'" in done.stderr
    assert not record_times(folder)


def test_the_report_is_rendered_from_the_records_alone(project):
    """And the same records give the same edition, but for the ids of clip paths, in which Matplotlib
    hashes the last bit of a layout."""
    before = record_times(project)

    def edition(*formats: str) -> list[bytes]:
        done = call(project, "render", "quick", "--to", *formats, "gfm")
        assert done.returncode == 0, done.stderr
        paths = [Path(line) for line in done.stdout.splitlines()]
        assert len(paths) == len(formats) + 1 and all(path.is_file() for path in paths)
        figures = sorted((paths[0].parent / "figures").glob("*.svg"))
        assert len(figures) > 10
        drawn = [re.sub(rb"\bp[0-9a-f]{10}\b", b"clip", path.read_bytes()) for path in figures]
        return [*drawn, paths[-1].read_bytes()]

    first = edition("html", "typst")
    text = first[-1].decode().replace("\N{NO-BREAK SPACE}", " ")
    for word in ("**Abstract.**", "**Expected.**", "**Found.**", "Table 1", "Figure 1"):
        assert word in text, word
    assert text.count(execution.NO_FIGURE) == 1  # published numbers are of other data
    assert edition() == first
    assert record_times(project) == before


def prose() -> dict[str, str]:
    """The report's own words: without code, mathematics, references, headers and comments."""
    found = {}
    for path in sorted((REPOSITORY / "report").rglob("*.qmd")):
        text = re.sub(r"\A---.*?^---$", "", path.read_text(), flags=re.S | re.M)
        text = re.sub(r"^```\{python\}.*?^```$", "", text, flags=re.S | re.M)
        text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.S)
        text = re.sub(r"`[^`]*`|\[[^\]]*@[^\]]*\]|@[\w-]+|\{[^}]*\}|\{\{<.*?>\}\}", "", text)
        found[str(path.relative_to(REPOSITORY))] = text
    return found


def test_no_number_and_no_verdict_is_typed_into_the_reports_prose():
    """Q1, Q2 … and CIFAR-10 are names; @sec-statistics names the verdicts once, to define them."""
    allowed = re.compile(r"\bQ[1-6]\b|\bCIFAR-10\b")
    verdicts = r"\b(better|worse|alike|inconclusive|significant\w*|outperform\w*)\b"
    for name, text in prose().items():
        assert not re.search(r"\d", allowed.sub("", text)), name
        definition = re.sub(r"## Statistics.*?(?=^# )", "", text, flags=re.S | re.M)
        questions = re.sub(r"[^.:]*\?", "", definition)  # a question claims nothing
        found = re.search(verdicts, questions)
        assert not found, (name, found)


def test_figure_captions_and_alt_texts_claim_nothing_either():
    for path in (REPOSITORY / "report").rglob("*.qmd"):
        for line in re.findall(r'#\| fig-(?:cap|alt): "(.*)"', path.read_text()):
            assert not re.search(r"\b(better|worse|alike)\b|\d\.\d", line), line
