"""What is typed into the report's prose: no number of ours, and no verdict outside a branch on one."""

import re
from pathlib import Path

import pytest

from conftest import REPOSITORY

REPORT = REPOSITORY / "report"
PAGES = sorted(REPORT.rglob("*.qmd"))
TEMPLATES = sorted((REPORT / "answers").glob("*.jinja"))
#: Names, the level of plain intervals, and T = 1, which is no temperature at all.
ALLOWED = re.compile(r"\bQ[1-7]\b|\bCIFAR-10\b|\b95\s%|\bT = 1\b|\b(?:above|below) 1\b|T²")
VERDICTS = re.compile(
    r"\b(better|worse|equivalent|(?:no|more|fewer) errors?|no difference|too imprecise|too few|helps|"
    r"harms|remov\w+|significant\w*|outperform\w*)\b",
    re.IGNORECASE,
)


def words(path: Path) -> str:
    """A page's own words: without code, mathematics, references, headers and comments."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\A---.*?^---$", "", text, flags=re.S | re.M)
    text = re.sub(r"^```\{python\}.*?^```$", "", text, flags=re.S | re.M)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|\{#.*?#\}", "", text, flags=re.S)
    return re.sub(r"`[^`]*`|\[[^\]]*@[^\]]*\]|\]\(.*?\)|\{\{<.*?>\}\}", "", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_number_and_no_verdict_is_typed_into_a_page(path):
    text = re.sub(r"\{[^}]*\}|@[\w-]+", "", words(path))
    assert not re.search(r".*\d.*", ALLOWED.sub("", text))
    rule = r"A\s+difference is \*better\*.*?(?=\n\n|Intervals)"
    text = re.sub(rule, "", text, flags=re.S)
    claims = re.sub(r"[^.:]*\?", "", text)  # a question claims nothing
    assert not re.search(r"\b(better|worse|equivalent|significant\w*|outperform\w*)\b", claims)
    for line in re.findall(r'#\| fig-(?:cap|alt): "(.*)"', path.read_text(encoding="utf-8")):
        assert not re.search(r"\b(better|worse)\b|\d\.\d", line)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_number_is_typed_into_an_answer_but_those_of_a_cited_source(path):
    for paragraph in path.read_text(encoding="utf-8").splitlines():
        if "@" not in paragraph:
            text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", paragraph)
            text = re.sub(r"`[^`]*`|\]\(.*?\)", "", text)
            assert not re.search(r"\d", ALLOWED.sub("", text)), text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_verdict_stands_only_inside_a_branch(path):
    depth = 0
    for part in re.split(r"(\{%.*?%\})", path.read_text(encoding="utf-8"), flags=re.S):
        tag = re.match(r"\{%-?\s*(\w+)", part)
        if tag:
            depth += {"if": 1, "endif": -1}.get(tag[1], 0)
        elif depth == 0:
            own = [line for line in part.splitlines() if "@" not in line]  # others say their own
            assert not VERDICTS.search(re.sub(r"\{\{.*?\}\}", "", "\n".join(own))), part
