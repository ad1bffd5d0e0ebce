"""What the report and the notebooks show of a profile: its tables, figures and answers, by name."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from darkknowledge.answers import networks, q1, q2, q3, q4, q5, q6, q7, scorecard
from darkknowledge.answers.abstract import abstract
from darkknowledge.answers.common import Answer, diverged, literature
from darkknowledge.answers.headlines import Headline, headlines
from darkknowledge.claims import Claim
from darkknowledge.params import PUBLISHED, SEARCH, project_root
from darkknowledge.records import LATENCY_TABLE, SOFT_LABELS, Store, named_in
from darkknowledge.tables import evidence, questions
from darkknowledge.tables.common import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Those with a written answer; q7 is the discussion.
QUESTIONS = ("q1", "q2", "q3", "q4", "q5", "q6")
DISCUSSION = "q7"
#: Those between pairs of networks.
NETWORKS = ("q5", "q6")
ABSENT = "*Not part of this profile.*"
OTHER_DATA = "*These runs are of other data than the published numbers.*"
NOTHING = "*Nothing is measured at these settings yet.*"


@dataclass(frozen=True)
class Paper:
    """A profile as read from its results folder. Missing questions are absent, never a crash."""

    profile: str
    store: Store

    @classmethod
    def load(cls, profile: str | None = None, results: str | Path | None = None) -> Paper:
        """The paper of ``profile`` (default: ``DARKKNOWLEDGE_PROFILE``, else the published one).

        ``results`` defaults to ``DARKKNOWLEDGE_RESULTS``, else the project's ``results/``.
        Raises RecordError if the profile has no table at all.
        """
        profile = profile or os.environ.get("DARKKNOWLEDGE_PROFILE") or PUBLISHED
        folder = results or os.environ.get("DARKKNOWLEDGE_RESULTS") or project_root() / "results"
        paper = cls(profile, Store(folder))
        paper.frames  # noqa: B018  # refused now, if it is to be refused
        return paper

    @functools.cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tidy frames of the questions that the profile has."""
        known = self.store.tables(self.profile, (*QUESTIONS, DISCUSSION, SEARCH))
        found = {q: self.store.read_table(self.profile, q) for q in known}
        return {q: frame for q, frame in found.items() if frame is not None}

    @functools.cached_property
    def studied(self) -> dict[str, pd.DataFrame]:
        """The frames of the questions proper, without the search for recipes."""
        return {q: frame for q, frame in self.frames.items() if q != SEARCH}

    @functools.cached_property
    def labels(self) -> str:
        """The true classes of the test images."""
        return self.store.labels(next(iter(self.frames.values()))["dataset"].iloc[0])

    @functools.cached_property
    def labels_by_dataset(self) -> dict[str, str]:
        """The true classes of the test images of every data set that has records."""
        names = {name for frame in self.frames.values() for name in frame["dataset"]}
        return {n: self.store.labels(n) for n in sorted(names) if self.store.has_labels(n)}

    @functools.cached_property
    def published(self) -> pd.DataFrame:
        """The published numbers, by id."""
        return literature(project_root())

    @functools.cached_property
    def latency(self) -> pd.DataFrame | None:
        """Q1's latencies, or None while they are not measured."""
        return self.store.read_latency(self.profile)

    @functools.cached_property
    def bench(self) -> pd.DataFrame:
        """Training speeds against the usual way; empty while they are not measured."""
        found = self.store.read_bench()
        return pd.DataFrame() if found is None else found

    @functools.cached_property
    def answers(self) -> dict[str, Answer]:
        """The written answers, by question."""
        published, by_dataset, claims = self.published, self.labels_by_dataset, self.claims
        make: dict[str, Callable[[pd.DataFrame], Answer]] = {
            "q1": lambda f: q1.answer(f, self.labels, claims["q1"], self.latency, published),
            "q2": lambda f: q2.answer(f, self.labels, claims["q2"], published),
            "q3": lambda f: q3.answer(f, self.labels, claims["q3"]),
            "q4": lambda f: q4.answer(f, self.labels, claims["q4"], published),
            "q5": lambda f: q5.answer(f, by_dataset, claims["q5"], published),
            "q6": lambda f: q6.answer(f, by_dataset, claims["q6"], published),
        }
        return {q: make[q](frame) for q, frame in self.studied.items() if q in QUESTIONS}

    @functools.cached_property
    def discussion(self) -> q7.Discussion | None:
        """The discussion, or None where the profile has none."""
        if DISCUSSION not in self.frames:
            return None
        of_nets = {k: c for q in NETWORKS for k, c in self.claims.get(q, {}).items()}
        frame, claims = self.frames[DISCUSSION], self.claims[DISCUSSION]
        return q7.discuss(frame, self.studied, self.labels, claims, of_nets)

    def discussed(self, experiment: str = "") -> str:
        """The discussion's paragraph on an experiment, or all of them, as Markdown."""
        if self.discussion is None:
            return ABSENT
        return self.discussion.paragraphs[experiment] if experiment else self.discussion.markdown

    @functools.cached_property
    def claims(self) -> dict[str, dict[str, Claim]]:
        """All claims by question and id: what the prose and the tables are made of."""
        own = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, DISCUSSION: q7}
        return {
            question: networks.make_claims(frame, self.labels_by_dataset)
            if question in NETWORKS
            else own[question].make_claims(frame, self.labels)
            for question, frame in self.studied.items()
        }

    @functools.cached_property
    def scorecard(self) -> list[scorecard.Row]:
        """Published numbers beside ours; empty where the data are not the published ones."""
        return scorecard.scorecard(
            self.studied, self.answers, self.labels_by_dataset, self.published
        )

    @functools.cached_property
    def headlines(self) -> list[Headline]:
        """The study in six answers."""
        return headlines(self.answers, self.frames, self.labels_by_dataset)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a hash over all records that the profile shows and over its
        other exhibits: editions of the same records carry the same."""
        known = {
            (run, record["checksum"])
            for frame in self.frames.values()
            for run, record in zip(frame["run_id"], frame["record"], strict=True)
            if record
        }
        lost = {
            run for frame in self.frames.values() for run in frame.loc[frame["diverged"], "run_id"]
        }
        digest = hashlib.sha256(json.dumps([sorted(known), sorted(lost)]).encode())
        exhibits = [self.store.exhibit_path(self.profile, n) for n in (LATENCY_TABLE, SOFT_LABELS)]
        for path in (*exhibits, self.store.bench_path):
            digest.update(path.read_bytes() if path.exists() else b"")
        return digest.hexdigest()[:16]

    @functools.cached_property
    def finished(self) -> datetime.datetime:
        """When the newest of the shown runs was finished; the epoch's start while there is none."""
        records = [r for frame in self.frames.values() for r in frame["record"] if r]
        times = [datetime.datetime.fromisoformat(r["provenance"]["finished"]) for r in records]
        return max(times, default=datetime.datetime.fromtimestamp(0, datetime.UTC))

    def answer(self, question: str) -> str:
        """A question's written answer as Markdown, with the planned runs that diverged."""
        found = self.answers.get(question)
        if not found:
            return ABSENT
        lost = diverged(self.frames[question])
        return f"{found.markdown}\n\n**Diverged.** {lost}" if lost else found.markdown

    def abstract(self) -> str:
        """What was found, a sentence a question."""
        return abstract(self.answers, self.discussion, self.frames, self.labels_by_dataset)

    def data(self) -> str:
        """The data sets that the shown records were computed from."""
        everything = pd.concat(self.frames.values())
        records = [r for r in everything["record"] if r]
        return ", ".join(sorted({r["provenance"]["data"] for r in records})) or "no data yet"

    def progress(self) -> str:
        """How many of the planned runs the report rests on."""
        planned = (run for frame in self.studied.values() for run in named_in(frame))
        return str(self.store.progress(planned))

    def table(self, name: str) -> str:
        """A table as Markdown. ``q2-claims`` and its like list a question's claims."""
        general: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
            "provenance": (lambda: evidence.provenance(self.studied), "ll"),
            "conventions": (evidence.conventions, "lllrrr"),
            "speed": (lambda: evidence.speed(self.bench), "lllrrrr"),
            "claims": (lambda: evidence.claim_runs(self.claims), "lll"),
            "scorecard": (lambda: evidence.scorecard(self.scorecard), "llllll"),
            "headlines": (lambda: evidence.headlines(self.headlines), "lllrr"),
        }
        if name in general:
            make, align = general[name]
            table = make()
            absent = OTHER_DATA if name == "scorecard" else NOTHING
            return markdown(table, align) if len(table) else absent
        question, _, what = name.partition("-")
        if question not in self.frames:
            return ABSENT
        if what == "claims":
            listed = evidence.claim_list(self.claims[question])
            return markdown(listed, "lrrrrl") if len(listed) else NOTHING
        if what == "explanations" and self.discussion:
            return markdown(evidence.explanations(self.discussion.explanations), "llrl")
        frame, labels = self.frames[question], self.labels_by_dataset
        tables: dict[str, Callable[[], pd.DataFrame]] = {
            "q1": lambda: questions.q1(frame, self.latency),
            "q2": lambda: questions.q2(frame),
            "q2-mcnemar": lambda: evidence.mcnemar(self.answers["q2"].claims["q2.kd_vs_hard"]),
            "q3": lambda: questions.q3(frame),
            "q4": lambda: questions.q4(frame),
            "q4-digits": lambda: questions.q4_digits(frame),
            "q5": lambda: questions.pairs(frame, labels),
            "q5-yuan": lambda: questions.yuan(frame, labels, self.published),
            "q6": lambda: questions.pairs(frame, labels),
            "q7": lambda: questions.q7(frame),
            "tuning": lambda: questions.tuning(frame),
        }
        table = tables[name]()
        names = 2 if name in ("q4", "q7") else 1  # columns of words, not of numbers
        align = names * "l" + (table.shape[1] - names) * "r"
        return markdown(table, align) if len(table) else NOTHING

    def figure(self, name: str) -> Figure | None:
        """A figure, in the study's style; None where the profile lacks its question or records."""
        # Drawing is slow to load, and what is only read or counted needs none of it.
        from darkknowledge.figures import method
        from darkknowledge.figures import networks as network_figures
        from darkknowledge.figures import q1 as q1_figures
        from darkknowledge.figures import q2 as q2_figures
        from darkknowledge.figures import q3 as q3_figures
        from darkknowledge.figures import q4 as q4_figures
        from darkknowledge.figures import q7 as q7_figures
        from darkknowledge.figures import scorecard as scorecard_figures
        from darkknowledge.figures.common import style

        style()
        if name == "kinds":
            return method.kinds_of_distillation()
        if name == "samples":
            names = {n for frame in self.studied.values() for n in frame["dataset"]}
            return method.samples({n: self.store.examples_path(n) for n in sorted(names)})
        if name == "scorecard":
            return scorecard_figures.published_and_ours(self.scorecard)
        question = name.partition("-")[0]
        if question not in self.frames:
            return None
        frame = self.frames[question]
        make: dict[str, Callable[[], Figure | None]] = {
            "q1": lambda: q1_figures.accuracy_against_cost(frame, self.latency),
            "q2": lambda: q2_figures.errors_by_arm(frame),
            "q2-curves": lambda: q2_figures.learning_curves(frame),
            "q2-soft-labels": lambda: method.soft_labels(
                self.store.exhibit_path(self.profile, SOFT_LABELS), self.examples
            ),
            "q3": lambda: q3_figures.errors_by_temperature(frame),
            "q3-teacher": lambda: q3_figures.soft_labels_by_temperature(frame),
            "q4": lambda: q4_figures.confusion(frame),
            "q4-unseen": lambda: q4_figures.unseen_images(frame, self.examples),
            "q4-digits": lambda: q4_figures.digits(frame),
            "q5": lambda: network_figures.gains(frame, self.labels_by_dataset),
            "q5-classes": lambda: network_figures.class_gains(frame, self.labels_by_dataset),
            "q6": lambda: network_figures.gains(frame, self.labels_by_dataset),
            "q6-classes": lambda: network_figures.class_gains(frame, self.labels_by_dataset),
            **{
                f"q7-{name}": functools.partial(q7_figures.errors_by_arm, frame, name)
                for name in q7.EXPERIMENTS
            },
            "q7-fidelity": lambda: q7_figures.fidelity(self.studied, self.labels),
        }
        return make[name]()

    @property
    def examples(self) -> Path:
        """Where the contact sheet of test images lies."""
        return self.store.examples_path(next(iter(self.frames.values()))["dataset"].iloc[0])


def without_references(markdown: str) -> str:
    """The text with Quarto's cross-references turned to words, for readers of a notebook."""
    text = re.sub(r"\s*\(@[a-z]+-[\w-]+\)", "", markdown)
    return re.sub(r"@[a-z]+-([\w-]+)", r"the report’s section “\1”", text)
