"""How a renderer is found, what it does with a document, and what goes wrong."""

import datetime
import re
import sys
from pathlib import Path

import pytest

import small_project
from darkknowledge import study
from darkknowledge.evidence import text
from darkknowledge.paper import execution, quarto_cli, rendering
from darkknowledge.paper.pandoc import Pandoc
from darkknowledge.questions import params
from darkknowledge.records import Store
from page import Page
from small_project import REPOSITORY, call, here

NOW = datetime.datetime.now(datetime.UTC)


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
def test_what_cannot_be_rendered_is_named(tmp_path, text, said):
    target = tmp_path / "index.html"
    with pytest.raises(RuntimeError, match=re.escape(said)):
        Pandoc().convert(text, "html", target, REPOSITORY, NOW)
    assert not target.exists()


def converted(tmp_path, text: str, form: str) -> str:
    """What a document says in a format; a page's words, with plain spaces."""
    target = tmp_path / "index"
    Pandoc().convert(f"---\ntitle: A\n---\n\n{text}", form, target, REPOSITORY, NOW)
    found = target.read_text(encoding="utf-8")
    return Page(found).text.replace("\N{NO-BREAK SPACE}", " ") if form == "html" else found


def test_parts_for_one_format_stand_in_that_one_alone(tmp_path):
    of = {"visible when": "the page", "visible unless": "not the page", "hidden when": "hidden"}
    block = '::: {{.content-{}-format="html"}}\n{}\n:::'
    text = "\n".join(block.format(how, words) for how, words in of.items())
    assert converted(tmp_path, text, "html").endswith("A the page")
    assert converted(tmp_path, text, "gfm").split("\n\n")[-2:] == ["not the page", "hidden\n"]


def test_a_name_comes_out_as_it_is_and_signs_that_no_font_has_are_told_of(tmp_path):
    name = 'a|b $x_1$ *c* "q" <b> @d #e [l](u) `f` &amp; -- ... ~t~ it\'s {.x}'
    assert converted(tmp_path, text.plain(name), "html").endswith(name)
    with pytest.raises(RuntimeError, match="could not be displayed .*: install a font that has it"):
        Pandoc().convert(
            "---\ntitle: A\n---\n\n\U000f1234", "typst", tmp_path / "a.pdf", REPOSITORY, NOW
        )


def test_sections_without_a_number_are_not_counted(tmp_path):
    text = "# A {#sec-a}\n\n## B\n\n# C {.unnumbered}\n\n# D\n\n## E {#sec-e}\n\n@sec-a, @sec-e"
    found = converted(tmp_path, text, "html")
    assert "1 A 1.1 B C 2 D 2.1 E Section 1, Section 2.1" in found


NONE = "::: {{#tbl-{}}}\n[*Nothing.*]{{.nothing}}\n\nWhat would be.\n:::\n\n"


def test_what_would_show_nothing_goes_with_its_heading_unless_the_text_refers_to_it(tmp_path):
    text = f"# A\n\n{NONE.format('a')}{NONE.format('b')}# B\n\nB. @tbl-c\n\n{NONE.format('c')}"
    text += f"# C\n\n## D\n\n{NONE.format('d')}"
    for form in ("html", "gfm"):
        found = " ".join(converted(tmp_path, text, form).split())
        assert found.count("What would be.") == found.count("Nothing.") == 1
        assert "Table 1: What would be." in found.replace("\N{NO-BREAK SPACE}", " ")
        assert "1 B" in found and "2 C" in found and "D" not in found


def test_equations_are_numbered_in_order_also_within_a_paragraph(tmp_path):
    text = "With @eq-b:\n$$\na\n$$ {#eq-a}\nand\n$$b$$ {#eq-b}\nall is said."
    found = converted(tmp_path, text, "html")
    assert "With Equation 2:" in found and re.search(r"a \( 1 \) and b \( 2 \) all is", found)
    found = converted(tmp_path, text, "gfm")
    assert found.count("``` math") == 2 and found.index("(1)") < found.index("(2)")


# -- finding a renderer ----------------------------------------------------------------------------


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
    return tmp_path


def test_quarto_is_looked_for_by_its_variable_then_on_path_then_beside_python(machine, monkeypatch):
    assert isinstance(rendering.find(), Pandoc)
    for place in ("venv/bin", "bin", "elsewhere"):
        quarto = script(machine / place / "quarto", "echo 1.9")
        if place == "elsewhere":
            monkeypatch.setenv("QUARTO_PATH", str(quarto))
        assert rendering.named(rendering.find()) == f"Quarto 1.9 ({quarto})"
    monkeypatch.setenv("QUARTO_PATH", str(machine / "nowhere"))
    with pytest.raises(RuntimeError, match="QUARTO_PATH is .*nowhere.*correct it or unset it"):
        rendering.find()
    monkeypatch.setenv(quarto_cli.OFF, "1")
    assert isinstance(rendering.find(fetch=True), Pandoc)
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


def test_quarto_is_installed_without_its_dependencies_where_that_works(machine, monkeypatch):
    """And only where it was asked for, in an environment."""
    put = "printf '#!/bin/sh\\necho 1.9\\n' > {target}; chmod +x {target}"
    notes, target = installer(machine, put), machine / "venv" / "bin" / "quarto"
    assert isinstance(rendering.find(), Pandoc)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "base_prefix", sys.prefix)
        assert isinstance(rendering.find(fetch=True), Pandoc)
    assert not notes.exists()
    assert str(rendering.find(fetch=True)) == f"Quarto 1.9 ({target})"
    assert "--no-deps quarto-cli" in notes.read_text()
    target.unlink()  # as when the packages are installed anew
    assert isinstance(rendering.find(fetch=True), quarto_cli.Quarto)
    assert not rendering.find().formats


@pytest.mark.slow
@pytest.mark.parametrize(
    "quarto",
    ["exit 1", "sleep 60", "printf '#!/bin/sh\\nexit 1\\n' > {target}; chmod +x {target}",
     "printf '#!/bin/sh\\nsleep 60\\n' > {target}; chmod +x {target}; sleep 60"],
    ids=["fails", "hangs", "does not run", "hangs late"],
)  # fmt: skip
def test_an_installation_that_fails_is_removed_and_not_tried_again(machine, monkeypatch, quarto):
    monkeypatch.setattr(quarto_cli, "PATIENCE", 1)
    notes, said = installer(machine, quarto), []
    for _ in range(2):
        assert isinstance(rendering.find(fetch=True), Pandoc)
        said.append(notes.read_text())
    assert not (machine / "venv" / "bin" / "quarto").exists()
    assert "uninstall" in said[0] and said[0] == said[1]


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path) -> Path:
    root = small_project.make(tmp_path / "project")
    for document in execution.DOCUMENTS:
        (root / document).write_text('---\ntitle: "A"\nauthor: "B"\n---\n\nWords.\n')
    with small_project.inside(root):
        study.write_table("q2", params.read("quick", "q2"), Store(root / "tables"))
    return root


def render(root: Path, *words: str, code: int = 0, **environment: str):
    words = ("render", "quick", "--results", str(root / "tables"), *words)
    return call(root, *words, code=code, **environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [(("nowhere",), "nowhere"), (("quick",), "quick"),  # there are no results of it here
     (("quick", "--results", "tables", "--to", "html", "docx"), "one of html, typst, gfm")],
)  # fmt: skip
def test_an_unknown_profile_or_format_is_refused_and_leaves_nothing(small, words, says):
    (said,) = here(small, "render", *words, code=2).stderr.splitlines()
    assert says in said
    assert not (small / "_output").exists() and not (small / "results").exists()


@pytest.mark.slow
def test_a_format_that_fails_leaves_the_others_and_no_stale_file(small):
    render(small)
    document, made = small / execution.DOCUMENTS[0], small / "_output" / "quick" / "report"
    document.write_text(document.read_text() + "\n```{=typst}\n#nonsense()\n```\n")
    done = render(small, code=1)
    assert "Traceback" not in done.stderr
    assert "Typst could not make the PDF: unknown variable: nonsense." in done.stderr
    assert (made / "index.html").exists() and not (made / "index.pdf").exists()


@pytest.mark.slow
def test_quarto_gets_the_executed_document_once_for_all_formats(small):
    """A stand-in for Quarto that shows what it was given."""
    document = small / execution.DOCUMENTS[0]
    document.write_text(
        '---\ntitle: "A"\njupyter: python3\n---\n\n'
        "`{python} open('count', 'a').write('x')`\n\n@sec-a\n"
    )
    quarto = script(
        small / "bin" / "quarto",
        '[ "$1" = render ] || { echo 1.9; exit; }\n'
        'case "$4" in html) e=html;; typst) e=pdf;; gfm) echo "no gfm" >&2; exit 3;; '
        'docx) e=docx; echo "WARNING (a.lua:1) Unable to resolve crossref @sec-a" >&2;; esac\n'
        'mkdir -p "$6/report" && cat "$2" _quarto.yml > "$6/report/$(basename "$2" .qmd).$e"',
    )
    where = {quarto_cli.OFF: "", "QUARTO_PATH": str(quarto)}
    done = render(small, "--to", "html", "gfm", "typst", "docx", code=1, **where)
    assert f"Rendered by Quarto 1.9 ({quarto})." in done.stderr
    assert re.search(r"could not render gfm: no gfm \(see .*quarto-gfm\.log\)", done.stderr)
    assert "could not render docx: Unable to resolve crossref @sec-a (see" in done.stderr
    made = [Path(line) for line in done.stdout.splitlines()]
    names = ["index.html", "index.pdf", "supplement.html", "supplement.pdf"]
    assert [path.name for path in made] == names
    text = made[0].read_text()
    assert "{python}" not in text and "jupyter" not in text and "engine: markdown" in text
    assert "@sec-a" in text and "bibliography:" in text
    assert (small / "count").read_text() == "x"
    assert not (small / "made").exists()
