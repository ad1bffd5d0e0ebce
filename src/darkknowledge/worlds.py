"""A world: the data, recipe, device and seeds that networks of Q5 and Q6 are studied in."""

from __future__ import annotations

from dataclasses import dataclass

from darkknowledge import spec as s
from darkknowledge.spec import SpecError


@dataclass(frozen=True)
class World:
    """One entry of ``params/worlds.yaml``.

    ``recipe`` serves every net. Student ``seeds[i]`` learns from the teacher of the i-th teacher
    seed, modulo their number. The first temperature is the main arm's, which the controls share;
    ``control_seeds`` are those of the controls and of all that is not baseline or main arm.
    ``poor_epochs`` is how long a poorly trained teacher trains.
    """

    dataset: str
    validation: int
    recipe: str
    teacher_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    control_seeds: tuple[int, ...]
    temperatures: tuple[float, ...]
    alpha: float
    poor_epochs: int
    device: str
    precision: str

    def __post_init__(self) -> None:
        s.choose("dataset", self.dataset, s.DATASETS)
        s.choose("device", self.device, s.DEVICES)
        s.choose("precision", self.precision, s.PRECISIONS)
        s.integer("validation", self.validation, 1)
        s.integer("poor_epochs", self.poor_epochs, 1)
        s.number("alpha", self.alpha, 0, 1)
        if not isinstance(self.recipe, str):
            raise SpecError(f"recipe is {s.shown(self.recipe)}, but must be the name of a recipe.")
        for name in ("teacher_seeds", "seeds", "control_seeds"):
            values = s.distinct(name, s.integers(name, getattr(self, name)))
            object.__setattr__(self, name, values)
        if not self.teacher_seeds or not self.seeds:
            raise SpecError("teacher_seeds and seeds must each name at least one seed.")
        shared = set(self.teacher_seeds) & set(self.seeds)
        if shared:
            raise SpecError(
                f"seed {min(shared)} is both a teacher's and a student's: keep them disjoint."
            )
        if not isinstance(self.temperatures, (list, tuple)) or not self.temperatures:
            raise SpecError("temperatures must be a list of at least one temperature.")
        values = tuple(s.positive("a temperature", t) for t in self.temperatures)
        object.__setattr__(self, "temperatures", s.distinct("temperatures", values))
