"""The questions, in the order of the paper."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from darkknowledge.questions import base
from darkknowledge.spec import RunSpec


@dataclass(frozen=True)
class Question:
    """A question by its key, as ``q2``: the folder of this package that knows it, its notebook, and
    what it is called.

    The folder holds ``plan.py`` (the class of the parameters, named by the key, as ``Q2``; ``FAMILIES``,
    functions in the order of training), ``findings.py`` (``claims(findings)`` declares them,
    ``values(findings)`` are for its template, ``LITERATURE`` says what stands beside published numbers,
    if anything does) and ``exhibits.py`` (``TABLES``, ``FIGURES``)."""

    key: str
    folder: str
    notebook: str
    title: str

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(f"darkknowledge.questions.{self.folder}.{name}")

    @property
    def plan(self) -> ModuleType:
        """What is trained; loads neither torch nor what draws and weighs."""
        return self._module("plan")

    @property
    def findings(self) -> ModuleType:
        """What the records say."""
        return self._module("findings")

    @property
    def exhibits(self) -> ModuleType:
        """How it is shown."""
        return self._module("exhibits")

    @property
    def parameters(self) -> type[base.Parameters]:
        """The class of the question's parameters."""
        found: type[base.Parameters] = getattr(self.plan, self.key.upper())
        return found

    def families(self, params: base.Parameters) -> list[base.Family]:
        """The question's families, in the order of training."""
        return base.families(self.plan.FAMILIES, params)

    def grid(self, params: base.Parameters) -> list[base.Planned]:
        """All runs of the question, each once and after its teacher."""
        return base.grid(self.key, self.families(params), params)


QUESTIONS = {
    question.key: question
    for question in (
        Question("q1", "q1_size", "q1_cumbersome_vs_small", "Cumbersome and small"),
        Question("q2", "q2_distillation", "q2_normal_distillation", "Distillation"),
        Question("q3", "q3_temperature", "q3_temperature", "Temperature"),
        Question("q4", "q4_unseen_digit", "q4_omitted_digit", "A digit never seen"),
        Question("q5", "q5_q6_pairs", "q5_reversed_distillation", "A weaker teacher"),
        Question("q6", "q5_q6_pairs", "q6_self_distillation", "A teacher of its own kind"),
        Question("q7", "q7_why", "q7_discussion", "Why it works"),
    )
}


def grids(chosen: dict[str, Any]) -> dict[str, list[base.Planned]]:
    """The grid of each question, by its parameters."""
    return {key: QUESTIONS[key].grid(params) for key, params in chosen.items()}


#: Question and arm of the nets whose weights are published, of the first block each.
PUBLISHED = {("q1", "teacher"), ("q2", "hard"), ("q2", "kd"), ("q4", "kd"), ("q5", "by_weak"),
             ("q6", "by_own")}  # fmt: skip


def published(plans: dict[str, list[base.Planned]]) -> list[RunSpec]:
    """The runs whose weights are published: teacher, student on hard labels and distilled, the student
    that never saw a three (or the first digit that is omitted), and the large nets that were taught."""
    chosen: dict[tuple[str, str, str], RunSpec] = {}
    for question, planned in plans.items():
        for one in sorted(planned, key=lambda one: one.spec.data.omit != (3,)):
            fits = question != "q4" or one.spec.data.omit
            if (question, one.arm) in PUBLISHED and fits:
                chosen.setdefault((question, one.arm, one.spec.data.name), one.spec)
    return list(chosen.values())
