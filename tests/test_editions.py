"""The published editions and the README's answers are those of the records in this repository."""

from __future__ import annotations

import re

import pytest

from darkknowledge import editions, published
from darkknowledge.paper import Paper
from small_project import REPOSITORY

PUBLISHED = REPOSITORY / "report" / "published"
README = (REPOSITORY / "README.md").read_text()
STALE = "The published editions are stale: call 'make publish'."


@pytest.fixture(scope="module")
def paper() -> Paper:
    return Paper.load("pilot", REPOSITORY / "results")


@pytest.mark.parametrize("ending", ["pdf", "md", "html"])
def test_every_edition_carries_the_fingerprint_of_the_records_that_are_here(paper, ending):
    content = (PUBLISHED / f"{editions.NAME}.{ending}").read_bytes()
    assert paper.fingerprint.encode() in content, STALE


def test_the_readmes_answers_are_those_of_the_records_that_are_here(paper):
    assert editions.with_answers(README, paper) == README, STALE


def test_another_fingerprint_means_other_records(paper, tmp_path):
    frames = {name: frame.copy() for name, frame in paper.frames.items()}
    changed = Paper(paper.profile, paper.store)
    changed.__dict__["frames"] = frames
    assert changed.fingerprint == paper.fingerprint
    record = frames["q1"].loc[0, "record"]
    frames["q1"].at[0, "record"] = {**record, "checksum": "0" * 64}
    changed = Paper(paper.profile, paper.store)
    changed.__dict__["frames"] = frames
    assert changed.fingerprint != paper.fingerprint


def test_a_readme_without_a_marked_place_is_refused(paper):
    with pytest.raises(RuntimeError, match="no place for the answers"):
        editions.with_answers("# A README", paper)


def test_the_html_edition_runs_no_script_and_asks_no_server():
    page = (PUBLISHED / f"{editions.NAME}.html").read_text()
    assert "<script" not in page and "javascript:" not in page
    assert not re.search(r'<(img|link|iframe|source)[^>]*(src|href)="https?:', page)
    assert "url(http" not in page


def test_every_figure_of_the_markdown_edition_is_beside_it():
    text = (PUBLISHED / f"{editions.NAME}.md").read_text()
    names = re.findall(r"\]\((figures/[^)]*)\)", text)
    assert len(names) >= 9
    for name in names:
        assert (PUBLISHED / name).is_file(), name
    for name in re.findall(r"\]\((report/[^)#]*)\)", README):
        assert (REPOSITORY / name).is_file(), name


def test_figures_that_show_images_keep_their_tones_in_the_dark_theme():
    documents = (REPOSITORY / "report").glob("**/*.qmd")
    labels = re.findall(r"#\| label: (\S+)", "\n".join(path.read_text() for path in documents))
    kept = [
        re.findall(r"#(fig-[\w-]+)", (REPOSITORY / "report" / sheet).read_text())
        for sheet in ("style.css", "edition.css")
    ]
    assert kept[0] == kept[1] and set(kept[0]) < set(labels)


def test_the_networks_that_the_readme_names_have_a_card():
    named = re.findall(r"^\| `([0-9a-f]{16})` \|", README, re.M)
    assert len(named) >= 4
    for run_id in named:
        card = published.read_card(REPOSITORY / "results" / "weights" / f"{run_id}.safetensors")
        assert card.run_id == run_id
