"""What the report and the notebooks show of a profile: its tables, figures and answers, by name."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from darkknowledge.config import project_root
from darkknowledge.evidence import tables, text
from darkknowledge.evidence.answers import written
from darkknowledge.evidence.arms import label
from darkknowledge.evidence.claims import PRIMARY, Claim, Findings
from darkknowledge.evidence.stats import FEWEST
from darkknowledge.paper import appendix, conventions, scorecard
from darkknowledge.questions.params import FROZEN, LARGE, PUBLISHED, rows
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import (
    HEADLINE,
    LATENCY_TABLE,
    SOFT_LABELS,
    UNSEEN,
    Progress,
    Store,
    named_in,
)
from darkknowledge.spec import CLASS_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a question is called, and its section, where that is not its number.
SHORT = {"q7": ("Why", "why")}
#: In place of what a profile lacks. A figure or a table that would show nothing else is left out of
#: the report.
ABSENT = "[*Not part of this profile.*]{.nothing}"
NOTHING = "[*Nothing is measured at these settings yet.*]{.nothing}"


#: What stands for a time while there is none.
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


def _ended(provenance: Mapping[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(provenance["finished"])


def find(
    question: str,
    frame: pd.DataFrame,
    labels: Mapping[str, str],
    files: Mapping[str, Path] = {},
    classes: Mapping[str, tuple[str, ...]] = {},
) -> Findings:
    """A question's findings, its claims among them."""
    findings = Findings(question, frame, labels, files, classes)
    twin = replace(findings, by_image=True, claims={})
    for one in (findings, twin):
        QUESTIONS[question].findings.claims(one)
    for name, claim in twin.claims.items():
        if claim.unit == "errors":
            findings.claims[name] = replace(findings.claims[name], by_image=claim.difference)
    return findings


def context(findings: Findings, large: Findings | None = None) -> dict[str, Any]:
    """What the template of a question's answer is filled with; ``large``: the same of larger networks."""
    values = QUESTIONS[findings.question].findings.values(findings)
    beside = context(large) if large else None
    return {"c": findings.claims, "v": values, "lit": literature()["value"], "large": beside}


def contexts(
    findings: Mapping[str, Findings], large: Mapping[str, Findings] = {}
) -> dict[str, Any]:
    """What templates that speak of all questions are filled with: per question its claims and values,
    as ``q2.c`` and ``q2.v``; None for those that the profile lacks or has no records of."""
    known = {q: context(f, large.get(q)) for q, f in findings.items() if any(f.frame["record"])}
    return dict.fromkeys(QUESTIONS) | known


def situations(
    findings: Mapping[str, Findings], large: Mapping[str, Findings] = {}
) -> pd.DataFrame:
    """When to distil: a row per situation whose claims are measured, what to do, what that was worth.

    The block ``rows`` of ``report/answers/when.md.jinja`` writes it, by the verdicts: a paragraph is a
    row, with a bar between its cells."""
    text = written(answers(), "when", "rows", contexts(findings, large))
    lines = [line.split(" | ") for line in text.split("\n\n") if line]
    return pd.DataFrame(lines, columns=["situation", "what to do", "worth here"])


def literature() -> pd.DataFrame:
    """The published numbers of ``report/literature.csv``, by id."""
    return pd.read_csv(project_root() / "report" / "literature.csv", index_col="id")


def unfinished(frame: pd.DataFrame) -> list[int]:
    """The blocks whose first family is still being trained."""
    first = frame[frame["family"] == frame["family"].iloc[0]]
    undone = first.loc[first["record"].isna() & ~first["diverged"], "block"]
    return [int(block) for block in undone.unique()]


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """A question's frame without the records of blocks whose first family is still being trained, so
    that numbers side by side are of the same blocks, and without other families that have not the
    blocks for a verdict yet, though they are planned."""
    hidden = frame["block"].isin(unfinished(frame))
    for family in frame["family"].unique()[1:]:
        rows = frame["family"] == family
        undone, planned = unfinished(frame[rows]), frame.loc[rows, "block"].nunique()
        few = planned - len(undone) < min(FEWEST, planned)
        hidden |= rows & (frame["block"].isin(undone) | few)
    numbers = [*HEADLINE, *(name for name in UNSEEN if name in frame)]
    frame.loc[hidden, numbers] = float("nan")
    frame.loc[hidden, "record"] = None
    return frame


@dataclass(frozen=True)
class Paper:
    """A profile as read from its results folder. Missing questions are absent, never a crash."""

    profile: str
    store: Store

    @classmethod
    def load(cls, profile: str | None = None, results: str | Path | None = None) -> Paper:
        """The paper of ``profile`` (default: ``DARKKNOWLEDGE_PROFILE``, else the published one).

        ``results`` defaults to ``DARKKNOWLEDGE_RESULTS``, else the project's ``results/``.
        Raises RecordError if the profile has no table at all."""
        profile = profile or os.environ.get("DARKKNOWLEDGE_PROFILE") or PUBLISHED
        folder = results or os.environ.get("DARKKNOWLEDGE_RESULTS") or project_root() / "results"
        paper = cls(profile, Store(folder))
        paper.frames  # noqa: B018  # refused now, if it is to be refused
        return paper

    @functools.cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tidy frames of the questions that the profile has."""
        known = self.store.tables(self.profile, QUESTIONS)
        found = {q: self.store.read_table(self.profile, q, rows(self.profile, q)) for q in known}
        return {q: whole(frame) for q, frame in found.items() if frame is not None}

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """The true classes of the test images of every data set that has records."""
        names = sorted({name for frame in self.frames.values() for name in frame["dataset"]})
        return {
            name: self.store.labels(name) for name in names if self.store.labels_path(name).exists()
        }

    @functools.cached_property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """What the classes of those data sets are called."""
        return {name: self.store.classes(name) for name in self.labels}

    def named(self, dataset: str) -> tuple[str, ...]:
        """The names of a data set's classes; empty where they are not known."""
        return self.classes.get(dataset) or CLASS_NAMES.get(dataset, ())

    @property
    def own(self) -> bool:
        """Whether this is a paper on a user's own data: on others than the study's, or by a profile that
        brings its own setups."""
        if (project_root() / "params" / self.profile / "setups.yaml").is_file():
            return True
        return any(
            name not in text.STUDIED for frame in self.frames.values() for name in frame["dataset"]
        )

    @functools.cached_property
    def files(self) -> dict[str, Path]:
        """The files beside the tables that exhibits show, by name; they need not be there."""
        named = {"latency": LATENCY_TABLE, "soft labels": SOFT_LABELS}
        return {k: self.store.exhibit_path(self.profile, name) for k, name in named.items()}

    @functools.cached_property
    def findings(self) -> dict[str, Findings]:
        """What the records say, by question."""
        about = self.labels, self.files, self.classes
        return {q: find(q, frame, *about) for q, frame in self.frames.items()}

    @functools.cached_property
    def large(self) -> Paper | None:
        """What the published profile shows of larger networks, beside the plan."""
        there = any(self.store.table_path(LARGE, q).exists() for q in QUESTIONS)
        found = Paper(LARGE, self.store) if there and self.profile == PUBLISHED else None
        return found if found and found.records else None

    @property
    def beside(self) -> Mapping[str, Findings]:
        """The findings of larger networks, by question."""
        return self.large.findings if self.large else {}

    @property
    def claims(self) -> dict[str, dict[str, Claim]]:
        """All claims, by question and by the part of their id behind the dot."""
        return {q: f.claims for q, f in self.findings.items()}

    @functools.cached_property
    def scorecard(self) -> list[scorecard.Row]:
        """Published numbers beside ours."""
        return scorecard.rows(self.findings, literature())

    @functools.cached_property
    def records(self) -> list[dict[str, Any]]:
        """Every record that the profile shows, once."""
        every = {r["run_id"]: r for frame in self.frames.values() for r in frame["record"] if r}
        return list(every.values())

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a hash over all records that the profile shows and over its
        other exhibits: editions of the same records carry the same."""
        known = {(record["run_id"], record["checksum"]) for record in self.records}
        frames = self.frames.values()
        lost = {run for frame in frames for run in frame.loc[frame["diverged"], "run_id"]}
        digest = hashlib.sha256(json.dumps([sorted(known), sorted(lost)]).encode())
        digest.update(self.large.fingerprint.encode() if self.large else b"")
        for path in (*self.files.values(), self.store.bench_path):
            digest.update(path.read_bytes() if path.exists() else b"")
        return digest.hexdigest()[:16]

    @property
    def begun(self) -> datetime.datetime:
        """When the first of the shown runs was begun; the epoch's start while there is none."""
        about = (record["provenance"] for record in self.records)
        return min((_ended(p) - datetime.timedelta(0, p["seconds"]) for p in about), default=EPOCH)

    @property
    def finished(self) -> datetime.datetime:
        """When the newest of them was finished; the epoch's start while there is none."""
        return max((_ended(record["provenance"]) for record in self.records), default=EPOCH)

    # -- words ---------------------------------------------------------------------------------

    def text(self, name: str, block: str = "answer") -> str:
        """A block of the written answer to a question as Markdown, or of ``abstract`` and the like, which
        speak of all questions."""
        if name in QUESTIONS:
            if name not in self.findings:
                return ABSENT
            known = self.contexts[name] or context(self.findings[name], self.beside.get(name))
            said = written(answers(), name, block, known)
            lost = self.frames[name]["diverged"] if block == "answer" else []
            return said + (f" {diverged(self.frames[name][lost])}" if any(lost) else "")
        return written(answers(), name, block, self.everything)

    @functools.cached_property
    def contexts(self) -> dict[str, Any]:
        """What the templates of the questions are filled with, as :func:`contexts` says."""
        return contexts(self.findings, self.beside)

    @functools.cached_property
    def everything(self) -> dict[str, Any]:
        """What the templates that speak of all questions are filled with."""
        counts = [row for row in self.scorecard if scorecard.UNITS[row.unit].images]
        apart = [row.id for row in counts if row.apart]
        more = {"published": len(self.scorecard), "apart": apart, "near": len(counts) - len(apart)}
        more |= {"compared": len(counts), "profile": self.profile}
        more["ours"] = {row.id: row.ours.mean for row in counts}
        primary = {
            q: c for q, some in self.claims.items() for c in some.values() if c.family == PRIMARY
        }
        places = {q: f"[{self.title(q).lower()}](#sec-{SHORT.get(q, (q, q))[1]})" for q in primary}
        more["loose"] = [places[q] for q, claim in primary.items() if claim.loose]
        every = [claim for some in self.claims.values() for claim in some.values()]
        others = [claim for claim in every if claim.family != PRIMARY]
        more["loosened"] = sum(claim.measured and claim.loose for claim in others)
        more["precision"] = text.joined({r["spec"]["precision"]: 0 for r in self.records})
        more |= {
            "frozen": [text.moment(time) for time in (FROZEN, self.begun)],
            "data": self.data_in_words(),
            "interim": self.interim(),
            "progress": str(self.progress()),
            "moved": appendix.moved(self.frames),
            "mixed": sum(c.measured and bool(c.difference.mixed) for c in every),
        }
        return self.contexts | {"lit": literature()["value"]} | more

    def interim(self) -> tuple[int, int] | None:
        """How many blocks are whole in the first family of every question, and how many are planned; None
        once every run is stored or has diverged."""
        if not self.progress().missing:
            return None
        planned, undone = [], []
        for frame in self.frames.values():
            blocks = frame.loc[frame["family"] == frame["family"].iloc[0], "block"]
            planned.append(blocks.nunique())
            undone.append(len(unfinished(frame)))
        return min(map(operator.sub, planned, undone), default=0), min(planned, default=0)

    def data_in_words(self) -> dict[str, Any]:
        """Of the first data set: what it and its classes are called, and the images of each split."""
        record = next((r for r in self.records if not r["spec"]["data"]["omit"]), None)
        if record is None:
            return {}
        spec = record["spec"]["data"]
        names = self.named(spec["name"]) or map(str, range(spec["classes"]))
        return {
            "name": text.plain(text.DATASETS.get(spec["name"], spec["name"])),
            "classes": [text.plain(name) for name in names],
            "training": record["provenance"]["training_images"],
            **{split: record[split]["n"] for split in ("validation", "test")},
        }

    def progress(self) -> Progress:
        """How many of the planned runs the report rests on."""
        planned = (run for frame in self.frames.values() for run in named_in(frame))
        return self.store.progress(planned)

    # -- tables and figures --------------------------------------------------------------------

    def table(self, name: str) -> str:
        """A table as Markdown, by name: ``q2-arms``, ``q2-claims``, ``answers``, …"""
        found = self.frame(name)
        if found is None:
            return ABSENT
        return tables.markdown(found) if len(found) else NOTHING

    def frame(self, name: str) -> pd.DataFrame | None:
        """The same as a frame; None where the profile lacks its question. Raises KeyError."""
        general: dict[str, Callable[[], pd.DataFrame]] = {
            "answers": self.headlines,
            "when": lambda: situations(self.findings, self.beside),
            "scorecard": lambda: scorecard.table(self.scorecard),
            "provenance": lambda: appendix.provenance(self.frames),
            "recipes": lambda: appendix.recipes(
                [*self.records, *(self.large.records if self.large else [])]
            ),
            "conventions": conventions.table,
            "search": lambda: appendix.search(self.store.exhibit_path(self.profile, "search.csv")),
            "speed": lambda: appendix.speed(self.store.read_bench()),
            "runs": lambda: appendix.run_ids(self.claims),
        }
        if name in general:
            return general[name]()
        findings, what = self.part(name)
        if findings is None:
            return None
        if what == "claims":
            return tables.claims(findings.claims)
        found: pd.DataFrame = QUESTIONS[findings.question].exhibits.TABLES[what](findings)
        return found

    def part(self, name: str) -> tuple[Findings | None, str]:
        """Of the exhibit ``q2-arms`` the findings of q2, None where the profile lacks it, and ``arms``.
        Raises KeyError."""
        question, _, what = name.partition("-")
        if question not in QUESTIONS:
            raise KeyError(name)
        return self.findings.get(question), what

    def title(self, question: str) -> str:
        """What a question is called; a user's own classes need not be digits."""
        title = QUESTIONS[question].title
        return title.replace("digit", "class") if self.own else title

    def headlines(self) -> pd.DataFrame:
        """The study in seven answers: a line per question that has records."""
        rows = []
        for q in QUESTIONS:
            if self.everything[q]:
                primary = next(c for c in self.claims[q].values() if c.family == PRIMARY)
                short, place = SHORT.get(q, (q.upper(), q))
                where, said = f"[{self.title(q)}](#sec-{place})", self.text(q, "headline")
                doubt = "\N{NO-BREAK SPACE}†" if primary.loose else ""
                rows.append([short, where, said, tables.effect(primary) + doubt])
        return pd.DataFrame(rows, columns=["Q", "question", "answer", "difference"])

    def figure(self, name: str) -> Figure | None:
        """A figure, in the study's style; None where the profile lacks its question or records."""
        # Drawing is slow to load, and what is only read or counted needs none of it.
        from darkknowledge.evidence import plots
        from darkknowledge.paper import method

        plots.style()
        examples = {name: self.store.examples_path(name) for name in self.labels}
        if name == "kinds":
            return method.kinds()
        if name == "samples":
            return method.samples(examples, {name: self.named(name) for name in examples})
        if name == "scorecard":
            return method.ratios(self.scorecard)
        findings, what = self.part(name)
        if findings is None:
            return None
        shown = [findings]
        if what == "soft-labels":
            return method.soft_labels(self.files["soft labels"], examples.get(shown[0].dataset))
        if name == "q5-gain":  # both teachers on the same axes, larger networks beside them
            every = self.findings.get("q6"), self.beside.get("q5"), self.beside.get("q6")
            shown += filter(None, every)
        if what == "rivals":
            shown += filter(None, [self.beside.get(findings.question)])
        found: Figure | None = QUESTIONS[findings.question].exhibits.FIGURES[what](*shown)
        return found

    def live(self, name: str) -> str:
        """What a script of the HTML edition needs, as Markdown: ``soft-labels`` or ``draw``; empty where
        the profile lacks it."""
        from darkknowledge.paper import live, method  # slow to load

        q2 = self.findings.get("q2")
        sheet = self.store.examples_path(q2.dataset) if q2 else None
        logits = method.known_soft_labels(self.files["soft labels"], sheet)
        if logits is None or sheet is None:
            return ""
        samples = live.samples(sheet, len(logits))
        if name == "soft-labels":
            return live.script(name, {"samples": samples, "logits": logits.tolist()})
        nets = live.networks(self.findings, self.store)
        return live.script(name, {"samples": samples, "nets": nets}) if nets else ""

    def supplement(self) -> str:
        """All tables of all questions as Markdown, a section per question. A table's caption is the
        first sentence of its function's docstring."""
        parts = self.sections("s")
        if self.large:
            said = written(answers(), "method", "large", self.everything)
            parts += ["# Larger networks {#sec-s-large}", said, *self.large.sections("large")]
            come = self.large.table("provenance")
            parts.append(
                f"::: {{#tbl-large-provenance}}\n\n{come}\n\nWhere these records come from.\n:::"
            )
        return "\n\n".join(parts)

    def sections(self, place: str) -> list[str]:
        """A section per question with all its tables; their ids begin with ``place``."""
        parts: list[str] = []
        for q in self.findings:
            depth = "#" if place == "s" else "##"
            number = "" if q in SHORT else f"{q.upper()}: "  # the discussion has none
            parts.append(f"{depth} {number}{self.title(q)} {{#sec-{place}-{q}}}")
            made = {name: make.__doc__ or "" for name, make in QUESTIONS[q].exhibits.TABLES.items()}
            for name, said in (made | {"claims": tables.claims.__doc__ or ""}).items():
                caption = " ".join(said.partition(".")[0].split())
                shown = self.table(f"{q}-{name}")
                if place != "s":  # outside the plan, though judged as if within
                    shown = shown.replace(f"{PRIMARY} (", f"as {PRIMARY} (")
                parts.append(f"::: {{#tbl-{place}-{q}-{name}}}\n\n{shown}\n\n{caption}.\n:::")
        return parts

    def draw(self, question: str) -> None:
        """Draw all figures of a question and leave them open, for its notebook."""
        for name in QUESTIONS[question].exhibits.FIGURES:
            self.figure(f"{question}-{name}")


def answers() -> Path:
    """The folder of the templates."""
    return project_root() / "report" / "answers"


def diverged(lost: pd.DataFrame) -> str:
    """A sentence on planned runs that diverged."""
    one, rows = len(lost) == 1, lost[["arm", "temperature"]].itertuples(index=False)
    kinds = {label(arm) + (f" at T = {t:g}" if arm == "kd" else "") for arm, t in rows}
    said = f"{'One' if one else len(lost)} planned run{'' if one else 's'}"
    whose = "a failure of its arm" if one else "failures of their arms"
    left = "its block is" if one else "their blocks are"
    where = f"{left} left out where {'it is' if one else 'they are'} needed, as planned"
    return f"{said} ({'; '.join(sorted(kinds))}) diverged: {whose}; {where}."
