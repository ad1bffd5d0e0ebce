"""How many processes there may be."""

import os

import pytest

from darkknowledge import processes


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("900000 100000", 8), (None, 8)],
)
def test_a_container_has_as_many_cores_as_it_is_allowed(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(processes, "QUOTA", tmp_path / "cpu.max")
    if quota:
        processes.QUOTA.write_text(quota)
    assert processes.cores() == cores
