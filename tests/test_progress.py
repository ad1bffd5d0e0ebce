"""Progress says runs done, time left and what comes next, and never floods a log."""

from __future__ import annotations

import sys

import pytest

from conftest import small_run
from darkknowledge.experiment import progress
from darkknowledge.experiment.progress import Progress
from darkknowledge.experiment.survey import Throughput
from darkknowledge.spec import RunSpec


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def lines(capsys):
    """The lines that were told since it was asked last."""
    return lambda: capsys.readouterr().err.splitlines()


def runs(count: int, epochs: int = 2) -> list[RunSpec]:
    return [small_run(seed=seed, epochs=epochs) for seed in range(count)]


def test_a_log_gets_plain_lines_with_runs_done_time_left_and_what_comes_next(store, clock, lines):
    """No time is promised before anything is done."""
    first, second, third, fourth = runs(4)
    with Progress(Throughput(store, [])) as told:
        clock.now += 6
        told.tell([second, third, fourth], [first])
        clock.now += 6
        told.done(first)
        told.tell([third, fourth], [second])
        clock.now += 8
        told.done(second)
        told.epochs([third.run_id])  # half of the third
        told.tell([fourth], [third])
        clock.now += 20
        told.done(third)
        told.done(fourth)
        told.tell([], [])
    assert lines() == [
        "0 of 4 runs done; next: mlp-16 hard seed 1",
        "1 of 4 runs done, about 36 s left; next: mlp-16 hard seed 2",
        "2 of 4 runs done, about 12 s left; next: mlp-16 hard seed 3",
        "4 of 4 runs done in 40 s",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(6, "60 s"), (24, "4 min"), (900, "2.5 h")])
def test_the_time_left_counts_runs_by_what_they_are_expected_to_take(
    store, clock, lines, seconds, words
):
    """In the unit that people would use."""
    quick, slow = runs(1)[0], runs(2, epochs=20)[1]
    throughput = Throughput(store, [])
    throughput.note(quick, {"provenance": {"images_per_second": 7000}})
    with Progress(throughput) as told:
        clock.now += seconds
        told.done(quick)
        told.tell([slow], [])
    assert lines() == [f"1 of 2 runs done, about {words} left; next: mlp-16 hard seed 1"]


def test_a_log_is_told_every_few_seconds_at_most_and_a_long_training_less_often(
    store, clock, lines
):
    specs = runs(1000)
    with Progress(Throughput(store, [])) as told:
        when = []
        for i in range(1000):
            clock.now += 1
            told.done(specs[i])
            told.tell(specs[i + 1 :], [])
            if lines():
                when.append(i + 1)
    pauses = [b - a for a, b in zip(when[:-2], when[1:-1], strict=True)]
    assert min(pauses) >= progress.SELDOM and max(pauses) <= progress.SELDOMEST
    assert pauses == sorted(pauses) and pauses[-1] > 5 * pauses[0]
    assert when[-1] == 1000  # the end is always told


@pytest.mark.parametrize("shown", [True, False])
def test_a_terminal_sees_a_bar_that_changes_in_place(store, clock, capsys, monkeypatch, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    first, second = runs(2)
    with Progress(Throughput(store, []), shown=shown) as told:
        clock.now += 10
        told.done(first)
        told.tell([second], [])
    said = capsys.readouterr().err
    bar = ("\r", "50%", "1 of 2 runs done, about 10 s left; next: mlp-16 hard seed 1")
    assert all(part in said for part in bar) if shown else said == ""
