"""A Quarto document executed in this process: its cells and expressions become plain Markdown.

What comes out holds no code. Quarto renders it like the document itself, and pandoc with the report's
own filter does too; so a document is executed once for all of its formats."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from darkknowledge.spec import text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the paper and its supplement lie, below the project's root, the document on a user's own data,
#: and their figures, beside what is made of them.
DOCUMENTS = (Path("report") / "index.qmd", Path("report") / "supplement.qmd")
OWN = Path("report") / "own.qmd"
FIGURES = "figures"

INCLUDE = re.compile(r"^\{\{< include (\S+) >\}\}$", re.M)
#: A code cell, or an expression within the text.
CODE = re.compile(r"^```\{python\}\n(?P<cell>.*?)^```$|`\{python\} (?P<inline>[^`]+)`", re.S | re.M)
OPTION = re.compile(r"^#\| (.*\n)", re.M)
#: The cell options that are understood, those of Quarto's that the report uses.
FIGURE_OPTIONS = {"label", "fig-cap", "fig-alt"}
OPTIONS = {"include", "output"} | FIGURE_OPTIONS
#: In place of a figure that a cell did not draw, so that references to it lead somewhere.
NO_FIGURE = "[*This profile has nothing to show here.*]{.nothing}"
#: What Markdown would take for markup where an expression's value is plain text.
MARKUP = re.compile(r"([\\`*_\[\]<>$@#^~|])")


def execute(document: Path, figures: Path) -> str:
    """The document as Markdown, with its figures as SVG in the folder ``figures``.

    The Markdown names them relative to that folder's parent. Cells run in order, in one namespace
    and in the current working folder; each shows what it prints, its last value and the figures
    that it leaves open, as in a notebook. Raises RuntimeError if a cell fails, naming it."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    text = included(document)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    figures.mkdir(parents=True, exist_ok=True)

    def result(found: re.Match[str]) -> str:
        source = found["inline"] or found["cell"]
        try:
            if found["inline"]:
                return inline(eval(source, namespace))
            return cell(source, namespace, figures)
        except (Exception, SystemExit) as error:
            line = text.count("\n", 0, found.start()) + 1
            place = f"line {line} ({source.strip().splitlines()[0]})"
            message = f"{place}: {type(error).__name__}: {' '.join(str(error).split())}"
            raise RuntimeError(f"{document.name}, includes counted in, {message}") from error

    plt.switch_backend("agg")  # no windows
    with mpl.rc_context({"figure.dpi": 96}):  # as Quarto has it
        executed = CODE.sub(result, text)
    if left := re.search("^```{python.*", executed, re.M):
        raise RuntimeError(f"{document.name}: a cell begins with {left[0]}, not ```{{python}}.")
    return executed


def included(document: Path) -> str:
    """A document's text with its partials, whose places are relative to it, in their places."""
    try:
        return INCLUDE.sub(lambda found: included(document.parent / found[1]), text_of(document))
    except RecursionError:
        raise RuntimeError(f"{document.name} includes itself: take that include out.") from None


def cell(source: str, namespace: dict[str, Any], figures: Path) -> str:
    """What a cell shows, as Markdown."""
    import matplotlib.pyplot as plt

    options = yaml.safe_load("".join(OPTION.findall(source))) or {}
    if unknown := set(options) - OPTIONS:
        raise ValueError(f"the option {unknown.pop()} is not one of {', '.join(sorted(OPTIONS))}")
    drawn_before = set(plt.get_fignums())
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        value = run(source, namespace)
    drawn = [plt.figure(n) for n in plt.get_fignums() if n not in drawn_before]
    if not options.get("include", True):
        return ""
    text = printed.getvalue()
    shown = [text if options.get("output") == "asis" else fenced(text)]
    if value is not None:
        said = markdown(value)
        shown.append(fenced(repr(value)) if said is None else said)
    if drawn or "fig-alt" in options:
        shown.append(floating(drawn, options, figures, source))
    return "\n\n".join(filter(None, shown))


def floating(drawn: list[Figure], options: dict[str, Any], folder: Path, source: str) -> str:
    """A cell's one figure, saved into ``folder``, as Markdown; it is closed. Without the options
    ``label`` and ``fig-cap`` it is an image, which a block around it numbers."""
    import matplotlib.pyplot as plt

    alone = "label" in options and "fig-cap" in options
    if "fig-alt" not in options or (not alone and {"label", "fig-cap"} & set(options)):
        lacking = min(FIGURE_OPTIONS - set(options))
        raise ValueError(f"a cell with a figure needs the option {lacking}")
    label = options["label"] if alone else re.sub(r"\W+", "-", OPTION.sub("", source)).strip("-")
    caption = options["fig-cap"] if alone else ""
    if not drawn:
        return f"::: {{#{label}}}\n{NO_FIGURE}\n\n{caption}\n:::" if alone else NO_FIGURE
    if len(drawn) > 1:
        raise ValueError("a cell shows one figure at most")
    (figure,) = drawn
    figure.draw_without_rendering()  # a layout settles at its second drawing
    # Without a date: the same records give the same file.
    figure.savefig(folder / f"{label}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    alt = options["fig-alt"].replace('"', "&quot;")
    name = f"#{label} " if alone else ""
    return f'![{caption}]({folder.name}/{label}.svg){{{name}fig-alt="{alt}"}}'


def run(source: str, namespace: dict[str, Any]) -> object:
    """Run a cell; returns the value of a last expression that no semicolon follows."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or source.rstrip().endswith(";"):
        exec(compile(tree, "<cell>", "exec"), namespace)
        return None
    tree.body.pop()
    exec(compile(tree, "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)


def markdown(value: object) -> str | None:
    """What an object of IPython's display system shows as Markdown; None if it shows none."""
    return value._repr_markdown_() if hasattr(value, "_repr_markdown_") else None


def inline(value: object) -> str:
    """A value within the text: Markdown as it is, everything else as plain words."""
    text = markdown(value)
    return MARKUP.sub(r"\\\1", str(value)) if text is None else text


def fenced(text: str) -> str:
    """Output that is not Markdown, to be shown letter by letter."""
    return f"```\n{text.rstrip()}\n```" if text.strip() else ""
