"""A rendered page as a test reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser

import pypdf


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


def sections_on_top(pdf: pypdf.PdfReader) -> list[int]:
    """Numbers of the sections that begin a page, in the order of the pages."""
    tops: Iterable[str] = (sheet.extract_text().lstrip() for sheet in pdf.pages)
    return [int(found[1]) for top in tops if (found := re.match(r"(\d+) [A-Z]", top))]
