"""The whole paper from wheels, read; how a renderer is found; the same words as Quarto's."""

from __future__ import annotations

import base64
import datetime
import difflib
import re
import shutil
import sys
import unicodedata
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pypdf
import pytest

import small_project
from darkknowledge import execution, quarto_cli, rendering
from darkknowledge.pandoc import Pandoc
from darkknowledge.paper import QUESTIONS, Paper
from small_project import REPOSITORY, call, command

RESULTS = REPOSITORY / "results"
SOURCE = execution.included(REPOSITORY / execution.DOCUMENT)
#: ``darkknowledge`` with its arguments; then what it should not have loaded, as the last line.
LOADED = """
import sys
from darkknowledge.cli import main
try:
    main()
finally:
    print(sorted({"torch", "torchvision", "darkknowledge.data"} & set(sys.modules)))
"""


class Page(HTMLParser):
    """A page's words in their order, and its elements."""

    SILENT = {"script", "style", "annotation", "nav", "title"}
    WITHIN = {"a", "span", "em", "strong", "sub", "sup", "code"}
    EMPTY = {"meta", "link", "img", "br", "hr", "input", "col", "mspace"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.feed(text)
        self.text = " ".join("".join(self.pieces).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.pieces.append("" if tag in self.WITHIN else " ")

    def handle_endtag(self, tag):
        while tag in self.open and self.open.pop() != tag:
            pass
        self.pieces.append("" if tag in self.WITHIN else " ")

    def handle_data(self, data):
        if not self.SILENT & set(self.open):
            self.pieces.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def letters(text: str) -> str:
    """Letters and digits alone: neither line ends nor hyphens nor ligatures."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", text).lower())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The project without results or code: what a report is rendered in."""
    return small_project.make(tmp_path_factory.mktemp("with space") / "project")


@pytest.fixture(scope="module")
def rendered(folder):
    """What ``darkknowledge render paper`` in all three formats says and leaves."""
    words = ["render", "pilot", "--results", str(RESULTS), "--to", "html", "typst", "gfm"]
    done = command(folder, sys.executable, "-c", LOADED, *words)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def made(folder, rendered) -> Path:
    return folder / "_output" / "pilot" / "report"


@pytest.fixture(scope="module")
def page(made) -> Page:
    return Page((made / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pdf(made) -> pypdf.PdfReader:
    return pypdf.PdfReader(made / "index.pdf")


@pytest.fixture(scope="module")
def pdf_text(pdf) -> str:
    return "\n".join(sheet.extract_text() for sheet in pdf.pages)


@pytest.fixture(scope="module")
def paper() -> Paper:
    return Paper.load("pilot", RESULTS)


def test_rendering_names_its_files_and_its_renderer_and_loads_no_torch(rendered, made):
    *paths, loaded = rendered.stdout.splitlines()
    assert [Path(path) for path in paths] == [made / f"index.{e}" for e in ("html", "pdf", "md")]
    assert loaded == "[]"
    (said,) = rendered.stderr.splitlines()  # and nothing else, no warning of any part
    assert re.fullmatch(r"Rendered by pandoc \S+ and Typst \S+; Quarto .* would add .*\.", said)


def labels(kind: str) -> list[str]:
    """Labels of figures, tables, equations or sections that the documents define."""
    return re.findall(rf"(?:\{{#|#\| label: )({kind}-[\w-]+)", SOURCE)


def test_every_reference_of_the_page_leads_somewhere(page):
    names = {attributes["id"] for _, attributes, _ in page.elements if "id" in attributes}
    wanted = {a["href"][1:] for a in page.attributes("a") if (a["href"] or "").startswith("#")}
    assert wanted <= names
    assert names >= {label for kind in ("fig", "tbl", "eq", "sec") for label in labels(kind)}
    used = set(re.findall(r"@((?:fig|tbl|eq|sec)-[\w-]*\w)", SOURCE))
    assert used and used <= wanted


@pytest.mark.parametrize("form", ["html", "pdf", "md"])
def test_figures_and_tables_are_numbered_in_order_and_none_is_lost(form, page, pdf_text, made):
    text = {"html": page.text, "pdf": pdf_text, "md": (made / "index.md").read_text()}[form]
    text = unicodedata.normalize("NFKC", text)
    for word, kind in (("Figure", "fig"), ("Table", "tbl")):
        captions = [int(n) for n in re.findall(rf"{word}\s(\d+):", text)]
        numbers = list(range(1, len(labels(kind)) + 1))
        assert (sorted(captions) if form == "pdf" else captions) == numbers, (word, form)


@pytest.mark.parametrize("form", ["html", "pdf"])
def test_nothing_of_the_source_is_left_as_it_was_typed(form, page, pdf_text):
    text = page.text if form == "html" else pdf_text
    for left in (r"@\w", r"\?@", r"\\[a-zA-Z]+", r"\$", r":::", r"\{[#.{]", r"\*\*", r"`"):
        assert not (found := re.search(f".{{0,40}}{left}.{{0,40}}", text)), found


def test_sections_are_numbered_and_stand_in_the_contents_by_their_numbers(page, made):
    headings = re.findall(r"^## (?:<a.*?></a>)?(\d+) ", (made / "index.md").read_text(), re.M)
    assert headings == [str(n) for n in range(1, len(headings) + 1)] and len(headings) >= 8
    html = (made / "index.html").read_text()
    contents = html[html.index("<nav") : html.index("</nav>")]
    for n in headings:
        assert re.search(rf"<a[^>]*>{n} ", contents), n
    assert html.count('href="#contents"') == 1  # the way back to them on a phone


def test_every_figure_has_its_alternative_text_in_every_edition(page, pdf, made):
    texts = re.findall(r'#\| fig-alt: "(.*)"', SOURCE)
    shown = [image["alt"] for image in page.attributes("img")]
    assert sorted(shown) == sorted(texts) and len(texts) == len(labels("fig"))
    written = re.findall(r"!\[(.*?)\]\(figures/", (made / "index.md").read_text())
    assert len(written) == len(texts) and all(len(text) > 20 for text in written)
    elements = list(structure(pdf))
    figures = [letters(e["/Alt"]) for e in elements if e.get("/S") == "/Figure"]
    assert sorted(figures) == sorted(map(letters, texts))
    assert all(e.get("/Alt") for e in elements if e.get("/S") == "/Formula")


def structure(pdf: pypdf.PdfReader):
    """All elements of a tagged PDF's structure."""
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


def test_every_number_of_the_page_is_in_the_pdf_too(page, pdf_text):
    def numbers(text: str) -> Counter[str]:
        return Counter(re.findall(r"\d[\d,.]*\d", text.replace("\N{ZERO WIDTH SPACE}", "")))

    assert numbers(page.text).total() > 1000
    assert not numbers(page.text) - numbers(pdf_text)


@pytest.mark.parametrize("form", ["html", "pdf", "md"])
def test_the_six_answers_and_the_fingerprint_are_there(form, page, pdf_text, made, paper):
    text = {"html": page.text, "pdf": pdf_text, "md": (made / "index.md").read_text()}[form]
    assert paper.fingerprint in text
    for question in QUESTIONS:
        # The longest piece of the answer without any markup or formula.
        pieces = re.split(r"[*@\[\]$`\\~^()]|\n\n", paper.answer(question))
        longest = letters(max(pieces, key=lambda piece: len(letters(piece))))
        assert len(longest) > 40 and longest in letters(text), question


def test_the_page_runs_no_script_and_asks_no_server(made, page):
    text = (made / "index.html").read_text()
    assert not page.attributes("script") and "javascript:" not in text
    assert not re.search(r"url\(\s*['\"]?http|@import", text)
    for tag, attributes, _ in page.elements:
        for name in ("src", "srcset", "data") if tag != "link" else ("href",):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)


def test_tables_and_formulas_scroll_within_the_page(page, made):
    tables = [inside for tag, _, inside in page.elements if tag == "table"]
    assert len(tables) >= 20 and all(inside[-1] == "div" for inside in tables)
    boxes = [a for _, a, _ in page.elements if a.get("class") == "scroll"]
    assert all(box["tabindex"] == "0" for box in boxes)
    assert len(boxes) == len(tables) + len(labels("eq"))
    style = re.search(r"<style.*?</style>", (made / "index.html").read_text(), re.S)[0]
    assert re.search(r"\.scroll \{[^}]*overflow-x: auto", style)
    # No column is given a width that a phone would have to keep.
    assert not page.attributes("col")


def test_the_markdown_edition_shows_its_figures(made):
    for name in re.findall(r"\]\((figures/[^)]*)\)", (made / "index.md").read_text()):
        assert (made / name).is_file(), name


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path) -> Path:
    """A project whose document is a line long."""
    root = small_project.make(tmp_path / "project")
    (root / execution.DOCUMENT).write_text('---\ntitle: "A"\nauthor: "B"\n---\n\nWords.\n')
    return root


def render(root: Path, *words: str, **environment: str):
    return call(root, "render", "pilot", "--results", str(RESULTS), *words, **environment)


def test_an_unknown_profile_is_refused_and_leaves_nothing(small):
    for profile in ("nowhere", "quick"):  # the one is none, the other has no results here
        done = call(small, "render", profile)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1 and profile in done.stderr
    assert not (small / "_output").exists() and not (small / "results").exists()


def test_an_unknown_format_is_refused(small):
    done = render(small, "--to", "html", "docx")
    assert done.returncode == 2 and "one of html, typst, gfm" in done.stderr
    assert not (small / "_output").exists()


def test_a_format_that_fails_leaves_the_others_and_no_stale_file(small):
    assert render(small).returncode == 0
    document = small / execution.DOCUMENT
    document.write_text(document.read_text() + "\n```{=typst}\n#nonsense()\n```\n")
    done = render(small)
    assert done.returncode == 1
    assert "Typst could not make the PDF: unknown variable: nonsense." in done.stderr
    made = small / "_output" / "pilot" / "report"
    assert (made / "index.html").exists() and not (made / "index.pdf").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("See @fig-lost.", "nothing is named @fig-lost"),
        ("[@lost2000]", "lost2000 not found"),
        ("# A {#sec-a}\n\n[@hinton2015; see @sec-a]", "a citation and a cross-reference"),
        ("$\\unheard{x}$", "unheard"),
        ("![a](lost.svg)", "lost.svg"),
        ("::: {#tbl-a}\n| a |\n|---|\n| 1 |\n:::", "last paragraph of tbl-a should be its caption"),
        ("{{< video a.mp4 >}}", "{{< video a.mp4 >}} can be rendered by Quarto alone"),
    ],
)
def test_what_cannot_be_rendered_is_named(tmp_path, paper, text, said):
    target = tmp_path / "index.html"
    with pytest.raises(RuntimeError, match=re.escape(said)):
        Pandoc().convert(text, "html", target, REPOSITORY, paper.finished)
    assert not target.exists()


def converted(tmp_path, text: str, form: str) -> str:
    target, now = tmp_path / "index", datetime.datetime.now(datetime.UTC)
    Pandoc().convert(f"---\ntitle: A\n---\n\n{text}", form, target, REPOSITORY, now)
    return target.read_text(encoding="utf-8")


def test_parts_for_one_format_stand_in_that_one_alone(tmp_path):
    text = """
::: {.content-visible when-format="html"}
for the page
:::
::: {.content-visible unless-format="html"}
not for the page
:::
::: {.content-hidden when-format="html"}
hidden on the page
:::
"""
    assert Page(converted(tmp_path, text, "html")).text.endswith("A for the page Contents")
    assert converted(tmp_path, text, "gfm").split("\n\n")[-2:] == [
        *("not for the page", "hidden on the page\n"),
    ]


def test_sections_without_a_number_are_not_counted(tmp_path):
    text = "# A {#sec-a}\n\n## B\n\n# C {.unnumbered}\n\n# D\n\n## E {#sec-e}\n\n@sec-a, @sec-e"
    found = Page(converted(tmp_path, text, "html")).text
    assert "1 A 1.1 B C 2 D 2.1 E Section 1, Section 2.1" in found.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_equations_are_numbered_in_order_also_within_a_paragraph(tmp_path):
    text = "With @eq-b:\n$$\na\n$$ {#eq-a}\nand\n$$b$$ {#eq-b}\nall is said."
    found = Page(converted(tmp_path, text, "html")).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "With Equation 2:" in found and re.search(r"a \( 1 \) and b \( 2 \) all is", found)
    found = converted(tmp_path, text, "gfm")
    assert found.count("``` math") == 2 and found.index("(1)") < found.index("(2)")


# -- finding a renderer --------------------------------------------------------------------------


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with an environment of its own and with neither Quarto nor an installer."""
    monkeypatch.delenv(quarto_cli.OFF, raising=False)
    monkeypatch.delenv("QUARTO_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(script(tmp_path / "venv" / "bin" / "python", "")))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(quarto_cli, "project_root", lambda: tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pip" else name)
    return tmp_path


def test_quarto_is_looked_for_by_its_variable_then_on_path_then_beside_python(machine, monkeypatch):
    assert isinstance(rendering.find(), Pandoc)
    for place in ("venv/bin", "bin", "elsewhere"):
        quarto = script(machine / place / "quarto", "echo 1.9")
        if place == "elsewhere":
            monkeypatch.setenv("QUARTO_PATH", str(quarto))
        found = rendering.find()
        assert rendering.named(found) == f"Quarto 1.9 ({quarto})"
    monkeypatch.setenv(quarto_cli.OFF, "1")
    assert isinstance(rendering.find(fetch=True), Pandoc)


def test_a_variable_that_leads_nowhere_is_refused(machine, monkeypatch):
    monkeypatch.setenv("QUARTO_PATH", str(machine / "nowhere"))
    with pytest.raises(RuntimeError, match="QUARTO_PATH is .*nowhere.*correct it or unset it"):
        rendering.find()


def test_with_no_renderer_at_all_one_sentence_says_what_to_do(machine, monkeypatch):
    monkeypatch.setattr(Pandoc, "here", staticmethod(lambda: False))
    with pytest.raises(RuntimeError, match=r"get Quarto from quarto\.org"):
        rendering.find()


def installer(machine: Path, quarto: str) -> Path:
    """A uv that puts ``quarto`` beside Python and notes its calls; returns the notes."""
    notes, target = machine / "notes", machine / "venv" / "bin" / "quarto"
    script(
        machine / "bin" / "uv",
        f'PATH=/usr/bin:/bin; echo "$@" >> {notes}\n'
        f'case "$2" in uninstall) rm -f {target};; *) {quarto.format(target=target)};; esac',
    )
    return notes


def test_quarto_is_installed_without_its_dependencies_where_that_works(machine):
    put = "printf '#!/bin/sh\\necho 1.9\\n' > {target}; chmod +x {target}"
    notes = installer(machine, put)
    assert str(rendering.find(fetch=True)) == f"Quarto 1.9 ({machine}/venv/bin/quarto)"
    assert "--no-deps quarto-cli" in notes.read_text()
    (machine / "venv" / "bin" / "quarto").unlink()  # as when the packages are installed anew
    assert isinstance(rendering.find(fetch=True), quarto_cli.Quarto)
    assert not rendering.find().formats


@pytest.mark.parametrize(
    "quarto",
    [
        "exit 1",
        "sleep 60",
        "printf '#!/bin/sh\\nexit 1\\n' > {target}; chmod +x {target}",
        "printf '#!/bin/sh\\nsleep 60\\n' > {target}; chmod +x {target}; sleep 60",
    ],
    ids=["fails", "hangs", "does not run", "hangs late"],
)
def test_an_installation_that_fails_is_removed_and_not_tried_again(machine, monkeypatch, quarto):
    monkeypatch.setattr(quarto_cli, "PATIENCE", 1)
    notes = installer(machine, quarto)
    assert isinstance(rendering.find(fetch=True), Pandoc)
    assert not (machine / "venv" / "bin" / "quarto").exists()
    before = notes.read_text()
    assert "uninstall" in before
    assert isinstance(rendering.find(fetch=True), Pandoc)
    assert notes.read_text() == before


def test_nothing_is_installed_without_being_asked_or_outside_an_environment(machine, monkeypatch):
    notes = installer(machine, "exit 1")
    assert isinstance(rendering.find(), Pandoc)
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert isinstance(rendering.find(fetch=True), Pandoc)
    assert not notes.exists()


# -- Quarto --------------------------------------------------------------------------------------


def test_quarto_gets_the_executed_document_once_for_all_formats(small):
    """A stand-in for Quarto that shows what it was given."""
    document = small / execution.DOCUMENT
    document.write_text(
        '---\ntitle: "A"\njupyter: python3\n---\n\n'
        "`{python} open('count', 'a').write('x')`\n\n@sec-a\n"
    )
    quarto = script(
        small / "bin" / "quarto",
        '[ "$1" = render ] || { echo 1.9; exit; }\n'
        'case "$4" in html) e=html;; typst) e=pdf;; gfm) echo "no gfm" >&2; exit 3;; esac\n'
        'mkdir -p "$6/report" && cat "$2" _quarto.yml > "$6/report/index.$e"',
    )
    words = ["--to", "html", "gfm", "typst"]
    done = render(small, *words, **{quarto_cli.OFF: "", "QUARTO_PATH": str(quarto)})
    assert done.returncode == 1
    assert f"Rendered by Quarto 1.9 ({quarto})." in done.stderr
    assert re.search(r"could not render gfm: no gfm \(see .*quarto-gfm\.log\)", done.stderr)
    made = [Path(line) for line in done.stdout.splitlines()]
    assert [path.name for path in made] == ["index.html", "index.pdf"]
    text = made[0].read_text()
    assert "{python}" not in text and "jupyter" not in text and "engine: markdown" in text
    assert "@sec-a" in text and "bibliography:" in text
    assert (small / "count").read_text() == "x"
    assert not (small / "made").exists()


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
def test_a_bare_quarto_render_gives_the_same_words_figures_and_tables(folder, page, paper):
    (folder / "_environment").write_text(f"QUARTO_PYTHON={sys.executable}\n")
    done = command(folder, "quarto", "render", "--to", "html", DARKKNOWLEDGE_RESULTS=str(RESULTS))
    assert done.returncode == 0, done.stderr
    output = folder / "_output" / "pilot" / "report" / "index.html"
    theirs = Page(output.read_text(encoding="utf-8"))
    ours = normal(page.text)
    assert abs(len(ours) - len(normal(theirs.text))) < 5
    changes = [
        (" ".join(normal(theirs.text)[a:b]), " ".join(ours[c:d]))
        for tag, a, b, c, d in difflib.SequenceMatcher(
            None, normal(theirs.text), ours, autojunk=False
        ).get_opcodes()
        if tag != "equal"
    ]
    assert changes == []
    assert drawings(theirs) == drawings(page)
    assert paper.fingerprint in theirs.text
    assert len(theirs.attributes("table")) == len(page.attributes("table"))
