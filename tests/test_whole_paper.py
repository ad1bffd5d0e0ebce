"""The whole paper from the packages, read: nothing lost or left in its source, the words of Quarto."""

import base64
import difflib
import re
import shutil
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pypdf
import pytest

from darkknowledge.paper import execution
from darkknowledge.paper.paper import Paper
from darkknowledge.questions.registry import QUESTIONS
from fabricated import results
from page import Page, sections_on_top
from small_project import REPOSITORY, command

pytestmark = pytest.mark.slow

SOURCE = execution.included(REPOSITORY / execution.DOCUMENTS[0])
NAMES = ("index", "supplement")
#: ``darkknowledge`` with its arguments; then what it should not have loaded, as the last line.
LOADED = """
import sys
from darkknowledge.cli import main
try:
    main()
finally:
    print(sorted({"torch", "torchvision", "darkknowledge.experiment.data"} & set(sys.modules)))
"""


def letters(text: str) -> str:
    """Letters and digits alone: neither line ends nor hyphens nor ligatures."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", text).lower())


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Records of the whole paper, fabricated: the committed ones may be few."""
    return results(tmp_path_factory.mktemp("results")).root


@pytest.fixture(scope="module")
def rendered(project, store):
    # Tables are held against the plan: the real one, as their rows are.
    shutil.copytree(REPOSITORY / "params", project / "params", dirs_exist_ok=True)
    words = ["render", "paper", "--results", str(store), "--to", "html", "typst", "gfm"]
    return command(project, sys.executable, "-c", LOADED, *words)


@pytest.fixture(scope="module")
def made(project, rendered) -> Path:
    return project / "_output" / "paper" / "report"


@pytest.fixture(scope="module")
def source(made) -> str:
    return (made / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source) -> Page:
    return Page(source)


@pytest.fixture(scope="module")
def pdf(made) -> pypdf.PdfReader:
    return pypdf.PdfReader(made / "index.pdf")


@pytest.fixture(scope="module")
def texts(page, pdf, made) -> dict[str, str]:
    sheets = "\n".join(sheet.extract_text() for sheet in pdf.pages)
    markdown = (made / "index.md").read_text(encoding="utf-8")
    return {"html": page.text, "pdf": sheets, "md": markdown}


@pytest.fixture(scope="module")
def paper(store) -> Paper:
    return Paper.load("paper", store)


def test_rendering_names_its_files_and_its_renderer_and_loads_no_torch(rendered, made):
    *paths, loaded = rendered.stdout.splitlines()
    assert paths == [str(made / f"{n}.{e}") for n in NAMES for e in ("html", "pdf", "md")]
    assert loaded == "[]"
    (said,) = rendered.stderr.splitlines()  # and nothing else, no warning of any part
    assert re.fullmatch(r"Rendered by pandoc \S+ and Typst \S+; Quarto .* would add .*\.", said)


def labels(kind: str) -> list[str]:
    """Labels of figures, tables, equations or sections that the paper defines."""
    return re.findall(rf"(?:\{{#|#\| label: )({kind}-[\w-]+)", SOURCE)


def test_every_reference_of_the_page_leads_somewhere(page):
    names = {attributes["id"] for _, attributes, _ in page.elements if "id" in attributes}
    wanted = {a["href"][1:] for a in page.attributes("a") if (a["href"] or "").startswith("#")}
    used = set(re.findall(r"@((?:fig|tbl|eq|sec)-[\w-]*\w)", SOURCE))
    assert used and used <= wanted <= names
    assert names >= {label for kind in ("fig", "tbl", "eq", "sec") for label in labels(kind)}


@pytest.mark.parametrize("form", ["html", "pdf", "md"])
def test_nothing_is_lost_in_any_edition_neither_figures_and_tables_nor_answers(form, texts, paper):
    """Captions stand in the order of their numbers but where the PDF lets them float."""
    text = unicodedata.normalize("NFKC", texts[form])
    for word, kind in (("Figure", "fig"), ("Table", "tbl")):
        captions = [int(n) for n in re.findall(rf"{word}\s(\d+):", text)]
        numbers = list(range(1, len(labels(kind)) + 1))
        assert (sorted(captions) if form == "pdf" else captions) == numbers, word
    assert paper.fingerprint in text
    for question in QUESTIONS:
        # The longest piece of the answer without any markup or formula.
        pieces = re.split(r"[*@\[\]$`\\~^()]|\n\n", paper.text(question))
        longest = letters(max(pieces, key=lambda piece: len(letters(piece))))
        assert len(longest) > 40 and longest in letters(text), question


@pytest.mark.parametrize("form", ["html", "pdf"])
def test_nothing_of_the_source_is_left_as_it_was_typed(form, texts):
    for left in (r"@\w", r"\?@", r"\\[a-zA-Z]+", r"\$", r":::", r"\{[#.{]", r"\*\*", r"`"):
        assert not (found := re.search(f".{{0,40}}{left}.{{0,40}}", texts[form])), found


def test_sections_are_numbered_and_stand_in_the_contents_by_their_numbers(source, texts):
    headings = re.findall(r"^## (?:<a.*?></a>)?(\d+) ", texts["md"], re.M)
    assert headings == [str(n) for n in range(1, len(headings) + 1)] and len(headings) >= 8
    contents = source[source.index("<nav") : source.index("</nav>")]
    assert all(re.search(rf"<a[^>]*>{n} ", contents) for n in headings)
    assert source.count('href="#contents"') == 1  # the way back to them on a phone


def test_every_figure_has_its_alternative_text_in_every_edition(page, pdf, texts, made):
    alts = re.findall(r'#\| fig-alt: "(.*)"', SOURCE)
    shown = [image["alt"] for image in page.attributes("img")]
    assert sorted(shown) == sorted(alts) and len(alts) == len(labels("fig"))
    written = re.findall(r"!\[(.*?)\]\((figures/[^)]*)\)", texts["md"])
    assert len(written) == len(alts) and all(len(text) > 20 for text, _ in written)
    assert all((made / name).is_file() for _, name in written)
    elements = list(structure(pdf))
    pictures = [letters(e["/Alt"]) for e in elements if e.get("/S") == "/Figure"]
    assert sorted(pictures) == sorted(map(letters, alts))
    assert all(e.get("/Alt") for e in elements if e.get("/S") == "/Formula")


def structure(pdf: pypdf.PdfReader):
    left = [pdf.trailer["/Root"]["/StructTreeRoot"]["/K"]]
    while left:
        node = left.pop().get_object()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            yield node
            left += [node.raw_get("/K")] if "/K" in node else []


def test_the_pdf_is_tagged_has_a_title_a_language_and_the_records_date(pdf, paper):
    root = pdf.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and root["/Lang"] == "en"
    assert pdf.metadata["/Title"] == "Dark Knowledge"
    assert paper.fingerprint in pdf.metadata["/Keywords"]
    assert abs((pdf.metadata.creation_date - paper.finished).total_seconds()) < 1


def test_every_number_of_the_page_is_in_the_pdf_too(texts):
    html, pdf = (
        Counter(re.findall(r"\d[\d,.]*\d", texts[form].replace("\N{ZERO WIDTH SPACE}", "")))
        for form in ("html", "pdf")
    )
    assert html.total() > 300
    assert html - pdf == Counter()


def test_the_page_asks_no_server(source, page):
    assert all("src" not in attributes for attributes in page.attributes("script"))
    for word in ("javascript:", "fetch(", "XMLHttpRequest", "import(", "WebSocket", "sendBeacon"):
        assert word not in source
    assert not re.search(r"url\(\s*['\"]?http|@import", source)
    for tag, attributes, _ in page.elements:
        for name in ("src", "srcset", "data") if tag != "link" else ("href",):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)


def test_tables_and_formulas_scroll_within_the_page(page, source):
    tables = [inside for tag, _, inside in page.elements if tag == "table"]
    assert len(tables) == len(labels("tbl")) and all(inside[-1] == "div" for inside in tables)
    boxes = [a for _, a, _ in page.elements if a.get("class") == "scroll"]
    assert all(box["tabindex"] == "0" for box in boxes)
    assert len(boxes) == len(tables) + len(labels("eq"))
    style = re.search(r"<style.*?</style>", source, re.S)[0]
    assert re.search(r"\.scroll \{[^}]*overflow-x: auto", style)
    # No column is given a width that a phone would have to keep.
    assert not page.attributes("col")


def normal(text: str) -> list[str]:
    """The words but for what citation styles and browsers differ in."""
    text = re.sub(r"(\w+), [^(),;]{1,40}, and \w+(?=[ \xa0]\(?\d{4})", r"\1 et al.", text)
    text = text.rpartition(" References ")[0]  # each pandoc has its edition of the style
    return re.sub(r"\u2061|\bAuthor\b", "", text).split()


def drawings(page: Page) -> list[str]:
    """The page's figures; the last digits of what was computed in another order are dropped."""
    found = []
    for image in page.attributes("img"):
        text = base64.b64decode(image["src"].partition("base64,")[2]).decode()
        text = re.sub(r"<metadata>.*?</metadata>|\bp[0-9a-f]{10}\b", "", text, flags=re.S)
        found.append(re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3f}", text))
    return found


@pytest.mark.skipif(not shutil.which("quarto"), reason="The command quarto is not on PATH.")
def test_a_bare_quarto_render_gives_the_same_words_figures_and_tables(project, page, paper, store):
    (project / "_environment").write_text(f"QUARTO_PYTHON={sys.executable}\n")
    command(project, "quarto", "render", "--to", "html", DARKKNOWLEDGE_RESULTS=str(store))
    output = project / "_output" / "paper" / "report" / "index.html"
    theirs, ours = Page(output.read_text(encoding="utf-8")), normal(page.text)
    assert abs(len(ours) - len(normal(theirs.text))) < 5
    assert [line for line in difflib.ndiff(normal(theirs.text), ours) if line[0] in "+-"] == []
    assert drawings(theirs) == drawings(page) and paper.fingerprint in theirs.text
    assert len(theirs.attributes("table")) == len(page.attributes("table"))


# -- the length of it ------------------------------------------------------------------------------


def words(markdown: str) -> int:
    return len(re.sub(r"[*~]|\[-?@[^]]*\]", " ", markdown).split())


def test_the_paper_is_as_long_as_somebody_reads(pdf, paper):
    # What leads up to the questions, and the first five of them, take a page each.
    assert sections_on_top(pdf)[:9] == [2, 3, 4, 5, 6, 7, 8, 9, 10] and len(pdf.pages) <= 12
    assert words(paper.text("abstract", "text")) <= 180


def test_the_supplement_holds_every_arm_and_claim(made, paper):
    text = (made / "supplement.md").read_text(encoding="utf-8")
    assert all(f"sec-s-{question}" in text for question in paper.claims)
    claims = [claim for of in paper.claims.values() for claim in of.values()]
    assert len(re.findall(r"^\|", text, re.M)) > sum(claim.measured for claim in claims)
