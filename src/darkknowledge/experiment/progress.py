"""How far a training is: runs done, time left, what comes next."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable

from tqdm import tqdm

from darkknowledge.experiment.survey import Throughput, in_words, portion
from darkknowledge.spec import RunSpec

#: Seconds between two lines where every line stays; a long training speaks less often.
SELDOM, SELDOMEST, LINES = 5.0, 60.0, 20
#: The share of the work before which no time is estimated.
EARLY = 0.03


class Progress:
    """Says on stderr how far a list of runs is: in a terminal as a bar that changes in place; in a log
    or a notebook, which keep everything, as a plain line now and then.

    The time left is the time so far, in the ratio of what is left to what is done; runs count by
    their expected seconds, or by their epochs while nothing was measured."""

    def __init__(self, throughput: Throughput, *, shown: bool = True) -> None:
        self._throughput = throughput
        self._done: list[RunSpec] = []
        self._epochs: Counter[str] = Counter()
        self._began = self._told = time.monotonic()
        self._shown = shown
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=1.0,
            bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not (shown and self._terminal),
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def epochs(self, run_ids: Iterable[str]) -> None:
        """Each of these runs has finished one more epoch."""
        self._epochs.update(run_ids)

    def done(self, spec: RunSpec) -> None:
        """A run has come to its end, be it with a record or without."""
        self._done.append(spec)

    def tell(self, waiting: list[RunSpec], running: Collection[RunSpec]) -> None:
        """Say where things stand, unless that was said a moment ago."""
        now = time.monotonic()
        pause = min(SELDOMEST, max(SELDOM, (now - self._began) / LINES))
        last = not waiting and not running
        if not self._shown or (now - self._told < (0.5 if self._terminal else pause) and not last):
            return
        self._told = now
        done, left = self._work(self._done, waiting, running)
        text = f"{len(self._done)} of {len(self._done) + len(waiting) + len(running)} runs done"
        if last:
            text += f" in {in_words(now - self._began)}"
        else:
            early = done < EARLY * (
                done + left
            )  # processes still start, and say little of the rest
            seconds = (now - self._began) * left / done if done else math.inf
            text += f", about {in_words(seconds)} left" if seconds < math.inf and not early else ""
            text += f"; next: {waiting[0].label.partition(' [')[0]}" if waiting else ""
        if self._terminal:
            self._bar.n = done / (done + left) if done + left else 1.0
            self._bar.set_description_str(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def _work(
        self, done: list[RunSpec], waiting: list[RunSpec], running: Collection[RunSpec]
    ) -> tuple[float, float]:
        """What is done and what is left, in one unit."""
        every = (*done, *waiting, *running)
        work = {spec.run_id: self._throughput.seconds(spec) for spec in every}
        if any(map(math.isnan, work.values())):
            work = {spec.run_id: spec.recipe.epochs * portion(spec) for spec in every}
        finished = sum(work[spec.run_id] for spec in done)
        for spec in running:
            share = min(1.0, self._epochs[spec.run_id] / max(1, spec.recipe.epochs))
            finished += share * work[spec.run_id]
        return finished, sum(work.values()) - finished
