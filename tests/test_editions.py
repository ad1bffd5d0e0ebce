"""The published editions and the README's findings are those of the records in this repository."""

import re
from dataclasses import replace

import pypdf
import pytest

import browser
from darkknowledge import study
from darkknowledge.evidence import text
from darkknowledge.paper import editions
from darkknowledge.paper.paper import Paper
from darkknowledge.questions import params
from darkknowledge.records import Store
from fabricated import results
from page import Page, sections_on_top
from small_project import REPOSITORY

PUBLISHED = REPOSITORY / "report" / "published"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
STALE = "The published editions are stale: call 'make publish'."
#: Widths of windows, in CSS pixels: phones, a notebook, wide screens.
WIDTHS = (320, 390, 1280, 1920, 2560)


@pytest.fixture(scope="module")
def paper() -> Paper:
    """The paper of the records that are here."""
    return Paper.load("paper", REPOSITORY / "results")


def test_every_run_is_stored_or_has_diverged_and_every_claim_is_judged(paper):
    assert not paper.progress().missing and not editions.undecided(paper)
    assert paper.interim() is None


def test_the_plan_was_frozen_before_the_first_run_was_begun(paper):
    assert params.FROZEN < paper.begun < paper.finished
    assert f"frozen on {text.moment(params.FROZEN)}" in paper.text("method", "limits")


def test_in_the_published_pdf_each_of_the_first_questions_has_its_page():
    pdf = pypdf.PdfReader(PUBLISHED / f"{editions.NAME}.pdf")
    assert sections_on_top(pdf)[:8] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert len(pdf.pages) <= 14


def test_the_abstract_is_short(paper):
    assert len(paper.text("abstract", "text").split()) <= 180


def test_every_link_between_the_editions_leads_somewhere():
    """And those to notebooks, which lie beside the folder."""
    pages = {p.name: Page(p.read_text(encoding="utf-8")) for p in PUBLISHED.glob("*.html")}
    places = {name: {one.get("id") for _, one, _ in page.elements} for name, page in pages.items()}
    every = [one["href"] or "" for page in pages.values() for one in page.attributes("a")]
    links = {href.partition("#")[::2] for href in every if "://" not in href and href[0] != "#"}
    assert {name for name, _ in links} >= set(places)
    for name, place in links:
        assert (PUBLISHED / name).exists(), name
        assert not place or place in places[name], (name, place)
    for path in PUBLISHED.glob("*.md"):
        found = re.findall(r"\]\(([^)#:]+)(#[^)]*)?\)", path.read_text(encoding="utf-8"))
        assert found and all((PUBLISHED / name).exists() for name, _ in found), path


@pytest.mark.slow
@pytest.mark.skipif(not browser.COMMAND, reason="there is no Chromium here")
@pytest.mark.parametrize("name", [editions.NAME, "supplement"])
def test_no_page_scrolls_sideways_with_every_table_unfolded(name, tmp_path):
    script = """for (const folded of document.querySelectorAll("details")) folded.open = true;
        return document.documentElement.scrollWidth - document.documentElement.clientWidth;"""
    with browser.Browser(tmp_path) as chromium:
        found = [chromium.use(PUBLISHED / f"{name}.html", script, width) for width in WIDTHS]
    assert found == [0] * len(WIDTHS)


def test_every_edition_and_the_readme_are_those_of_the_records_that_are_here(paper):
    for ending in ("pdf", "md", "html"):
        content = (PUBLISHED / f"{editions.NAME}.{ending}").read_bytes()
        assert paper.fingerprint.encode() in content, STALE
    assert editions.with_answers(README, paper) == README, STALE
    with pytest.raises(RuntimeError, match="no place for the answers"):
        editions.with_answers("# A README", None)


@pytest.mark.slow
def test_another_record_means_another_fingerprint_and_few_blocks_are_not_published(tmp_path):
    store = results(tmp_path / "results", "quick")
    paper = Paper.load("quick", store.root)
    assert not editions.undecided(paper)
    row = paper.frames["q1"].iloc[0]
    path = store.record_path(row["dataset"], row["run_id"])
    path.unlink()
    fewer = Paper("quick", Store(store.root))
    assert fewer.fingerprint != paper.fingerprint
    # A block that lacks a run is not shown, by none of the questions that have it.
    assert {"q1.large_vs_small", "q2.kd_vs_hard"} <= set(editions.undecided(fewer))
    with pytest.raises(RuntimeError, match="q1.large_vs_small, .* have fewer than 5 blocks"):
        editions.publish("quick", store)


def test_larger_networks_stand_beside_the_published_profile_alone(tmp_path):
    """A record of theirs counts in its fingerprint, and not among its runs."""
    store = results(tmp_path / "results", "gpu")
    for question in ("q5", "q6"):
        planned = replace(params.read("paper", question), results_dir=str(store.root))
        study.write_table(question, planned, store)
    paper = Paper("paper", store)
    assert set(paper.beside) == {"q5", "q6"} and not paper.records
    assert "ResNet-18" in paper.table("recipes")
    assert Paper("gpu", store).large is None and not Paper("quick", store).beside
    one = paper.large.records[0]
    store.record_path(one["spec"]["data"]["name"], one["run_id"]).unlink()
    assert Paper("paper", Store(store.root)).fingerprint != paper.fingerprint


def test_where_publishing_fails_the_editions_stay_as_they_were(tmp_path, monkeypatch):
    (tmp_path / "made" / "figures").mkdir(parents=True)
    (page := tmp_path / "made" / "index.html").write_text("new")
    (old := tmp_path / "report" / "published" / "dark-knowledge.html").parent.mkdir(parents=True)
    for path in (old, tmp_path / "README.md"):
        path.write_text("old, and without a mark for the answers")
    for name, value in {"project_root": tmp_path, "undecided": [], "render": ([page], [])}.items():
        monkeypatch.setattr(editions, name, lambda *_, value=value: value)
    monkeypatch.setattr(editions.Paper, "load", lambda *_: None)
    with pytest.raises(RuntimeError, match="no place for the answers"):
        editions.publish("quick", Store(tmp_path))
    assert old.read_text() == "old, and without a mark for the answers"


def test_only_figures_that_an_edition_names_are_published(tmp_path, monkeypatch):
    """Those of an older paper may still lie where the new one was made."""
    (figures := tmp_path / "made" / "figures").mkdir(parents=True)
    for name in ("fig-new.svg", "fig-old.svg"):
        (figures / name).write_text("<svg/>")
    (page := figures.parent / "index.md").write_text("![new](figures/fig-new.svg)")
    (tmp_path / "README.md").write_text("old")
    for name, value in {"project_root": tmp_path, "undecided": [], "render": ([page], []),
                        "with_answers": "new"}.items():  # fmt: skip
        monkeypatch.setattr(editions, name, lambda *_, value=value: value)
    monkeypatch.setattr(editions.Paper, "load", lambda *_: None)
    editions.publish("quick", Store(tmp_path))
    published = tmp_path / "report" / "published"
    assert sorted(path.name for path in published.rglob("*.*")) == [
        "dark-knowledge.md",
        "fig-new.svg",
    ]


def test_every_file_that_the_readme_and_the_markdown_edition_name_is_there():
    edition = (PUBLISHED / f"{editions.NAME}.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\((figures/[^)]*)\)", edition)
    assert len(names) >= 9
    for name in names:
        assert (PUBLISHED / name).is_file(), name
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    for page in pages:
        for name in re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), (page.name, name)
