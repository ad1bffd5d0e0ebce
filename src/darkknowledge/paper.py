"""What the report and the notebooks show of a profile: its tables, figures and answers, by name."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from darkknowledge import answers, figures, tables
from darkknowledge.params import project_root
from darkknowledge.records import LATENCY_TABLE, RecordError, Store

QUESTIONS = ("q1", "q2")
ABSENT = "*Not part of this profile.*"


@dataclass(frozen=True)
class Paper:
    """A profile as read from its results folder. Missing questions are absent, never a crash."""

    profile: str
    store: Store

    @classmethod
    def load(cls, profile: str | None = None, results: str | Path | None = None) -> Paper:
        """The paper of ``profile`` (default: ``DARKKNOWLEDGE_PROFILE``, else ``paper``).

        ``results`` defaults to ``DARKKNOWLEDGE_RESULTS``, else the project's ``results/``.
        Raises RecordError if the profile has no table at all.
        """
        profile = profile or os.environ.get("DARKKNOWLEDGE_PROFILE") or "paper"
        folder = results or os.environ.get("DARKKNOWLEDGE_RESULTS") or project_root() / "results"
        paper = cls(profile, Store(folder))
        if not paper.frames:
            raise RecordError(
                f"{folder}/{profile} holds no table yet: call 'darkknowledge run {profile}' first."
            )
        return paper

    @functools.cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tidy frames of the questions that the profile has."""
        found = {q: self.store.read_table(self.profile, q) for q in (*QUESTIONS, "tuning")}
        return {q: frame for q, frame in found.items() if frame is not None}

    @functools.cached_property
    def studied(self) -> dict[str, pd.DataFrame]:
        """The frames of the questions proper, without the search for recipes."""
        return {q: frame for q, frame in self.frames.items() if q in QUESTIONS}

    @functools.cached_property
    def labels(self) -> str:
        """The true classes of the test images."""
        return self.store.labels(next(iter(self.frames.values()))["dataset"].iloc[0])

    @functools.cached_property
    def latency(self) -> pd.DataFrame | None:
        """Q1's latencies, or None while they are not measured."""
        path = self.store.exhibit_path(self.profile, LATENCY_TABLE)
        return pd.read_csv(path) if path.exists() else None

    @functools.cached_property
    def answers(self) -> dict[str, answers.Answer]:
        """The written answers, by question."""
        published = answers.literature(project_root())
        make: dict[str, Callable[[pd.DataFrame], answers.Answer]] = {
            "q1": lambda frame: answers.q1(frame, self.labels, self.latency, published),
            "q2": lambda frame: answers.q2(frame, self.labels, published),
        }
        return {q: make[q](frame) for q, frame in self.studied.items()}

    def answer(self, question: str) -> str:
        """A question's written answer as Markdown."""
        found = self.answers.get(question)
        return found.markdown if found else ABSENT

    def abstract(self) -> str:
        """What was found, in two or three sentences."""
        return answers.abstract(self.answers, self.frames, self.labels)

    def data(self) -> str:
        """The data sets that the shown records were computed from."""
        everything = pd.concat(self.frames.values())
        records = [r for r in everything["record"] if r]
        return ", ".join(sorted({r["provenance"]["data"] for r in records})) or "no data yet"

    def progress(self) -> str:
        """How many of the planned runs the report rests on."""
        runs = pd.concat(self.studied.values()).drop_duplicates("run_id")
        done = int(runs["test_errors"].notna().sum())
        return f"{done} of {len(runs)}"

    def table(self, name: str) -> str:
        """A table as Markdown."""
        make: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
            "q1": ("q1", lambda f: tables.markdown(tables.q1(f, self.latency))),
            "q2": (
                "q2",
                lambda f: tables.markdown(tables.q2(f), "l" + "r" * 8),
            ),
            "q2-claims": (
                "q2",
                lambda f: tables.markdown(tables.claim_list(self.answers["q2"].claims), "lrrrl"),
            ),
            "q2-mcnemar": (
                "q2",
                lambda f: tables.markdown(
                    tables.mcnemar(self.answers["q2"].claims["q2.kd_vs_hard"]), "rrrr"
                ),
            ),
            "tuning": ("tuning", lambda f: tables.markdown(tables.tuning(f))),
        }
        if name == "provenance":
            return tables.markdown(tables.provenance(self.studied), "ll")
        question, build = make[name]
        return build(self.frames[question]) if question in self.frames else ABSENT

    def figure(self, name: str) -> Figure | None:
        """A figure, in the study's style; None where the profile lacks its question."""
        figures.style()
        make = {
            "kinds": (None, lambda f: figures.kinds_of_distillation()),
            "q1": ("q1", lambda f: figures.q1(f, self.latency)),
            "q2": ("q2", figures.q2),
            "q2-curves": ("q2", figures.q2_curves),
        }
        question, build = make[name]
        if question is not None and question not in self.frames:
            return None
        return build(self.frames.get(question))


def without_references(markdown: str) -> str:
    """The text with Quarto's cross-references turned to words, for readers of a notebook."""
    text = re.sub(r"\s*\(@[a-z]+-[\w-]+\)", "", markdown)
    return re.sub(r"@[a-z]+-([\w-]+)", r"the report’s section “\1”", text)
