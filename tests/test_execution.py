"""A document's code becomes what a notebook would show of it, once, and leaves nothing else behind."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from darkknowledge.paper import execution
from darkknowledge.spec import SpecError

FIGURE = """```{python}
#| label: fig-one
#| fig-cap: "A *cap*."
#| fig-alt: 'A "quoted" text.'
import matplotlib.pyplot as plt
plt.figure().add_subplot().plot([1, 2]);
```"""


def executed(tmp_path, text: str) -> str:
    (tmp_path / "index.qmd").write_text(text, encoding="utf-8")
    return execution.execute(tmp_path / "index.qmd", tmp_path / "figures")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("x = 3\nx", "```\n3\n```"),
        ("x = 3\nx;", ""),
        ("print('*a*')", "```\n*a*\n```"),
        ("#| output: asis\nprint('*a*')", "*a*\n"),
        ("#| include: false\nprint('a')\n1", ""),
        ("from IPython.display import Markdown\nMarkdown('*a*')", "*a*"),
        ("", ""),
    ],
)
def test_a_cell_shows_its_last_value_and_what_it_prints(tmp_path, cell, shown):
    assert executed(tmp_path, f"a\n\n```{{python}}\n{cell}\n```\n\nb") == f"a\n\n{shown}\n\nb"


VALUES = """```{python}
from IPython.display import Markdown
x = 1
```
`{python} x`
```{python}
x += 1
```
`{python} x + x` `{python} '*a_b* @c'` `{python} Markdown('*a*')`"""


def test_values_within_the_text_follow_the_cells_and_are_plain_unless_markdown(tmp_path):
    assert executed(tmp_path, VALUES).split() == ["1", "4", r"\*a\_b\*", r"\@c", "*a*"]


def test_partials_stand_in_their_places_and_are_executed(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "_a.qmd").write_text("`{python} 1 + 1` é\n\n{{< include _b.qmd >}}\n")
    (tmp_path / "parts" / "_b.qmd").write_text("b")
    assert executed(tmp_path, "{{< include parts/_a.qmd >}}\n\nc").split() == ["2", "é", "b", "c"]


def test_a_figure_is_saved_and_named_and_one_that_is_not_drawn_can_still_be_referred_to(tmp_path):
    assert executed(tmp_path, FIGURE) == (
        '![A *cap*.](figures/fig-one.svg){#fig-one fig-alt="A &quot;quoted&quot; text."}'
    )
    drawn = (tmp_path / "figures" / "fig-one.svg").read_bytes()
    assert drawn.startswith(b"<?xml") and b"dc:date" not in drawn and not plt.get_fignums()
    found = executed(tmp_path, FIGURE.replace("plt.figure().add_subplot().plot([1, 2]);", "None;"))
    assert found == f"::: {{#fig-one}}\n{execution.NO_FIGURE}\n\nA *cap*.\n:::"


def test_a_document_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "a.qmd").write_text("{{< include _b.qmd >}}\n", encoding="utf-8")
    (tmp_path / "_b.qmd").write_bytes(b"caf\xe9")
    with pytest.raises(SpecError, match=r"_b\.qmd is not UTF-8"):
        execution.included(tmp_path / "a.qmd")


def test_the_look_of_figures_made_elsewhere_is_left_alone(tmp_path):
    before, mine = dict(mpl.rcParams), plt.figure()
    executed(tmp_path, "```{python}\nimport matplotlib as m\nm.rcParams['font.size'] = 3\n```")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n\n```{python}\n#| label: bad\n1 / 0\n```", "line 3 .*label: bad.*ZeroDivisionError"),
        ("```{python}\nraise SystemExit(0)\n```", "SystemExit: 0"),
        ("```{python}\n#| label: [a\n```", r"line 1 \(#. label: \[a\): ParserError: .* line 2"),
        ("{{< include index.qmd >}}", r"index\.qmd includes itself"),
        ("`{python} lost`", "line 1 .lost.: NameError"),
        ("```{python}\n#| fig-width: 3\n1\n```", "fig-width is not one of"),
        (FIGURE.replace("fig-alt: ", "label: "), "needs the option fig-alt"),
        (FIGURE.replace("plt.figure()", "plt.figure(); plt.figure()"), "one figure at most"),
        ("```{python .numberLines}\n1\n```", "```{python .numberLines}"),
        ("{{< include nowhere.qmd >}}", "nowhere.qmd"),
    ],
)
def test_what_cannot_be_executed_is_named(tmp_path, text, said):
    with pytest.raises((RuntimeError, OSError), match=said):
        executed(tmp_path, text)
