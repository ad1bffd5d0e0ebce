"""The two ways that are timed are two ways to the same: same loss, same images, a real measurement."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import pytest
import torch
from torchvision import transforms

from conftest import REPOSITORY
from darkknowledge import devices
from darkknowledge.experiment import losses

sys.path.append(str(REPOSITORY / "benchmarks"))
import speed


def test_the_usual_loss_is_the_one_of_this_study():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 10, generator=generator) for _ in range(2))
    labels = torch.arange(6)
    hard = losses.cross_entropy(student, labels)
    soft = losses.kd(student, labels, teacher, speed.TEMPERATURE, None)
    ours = speed.LOSS.w_hard * hard + speed.LOSS.w_soft * soft
    torch.testing.assert_close(speed.usual_loss(student, teacher, labels), ours)


@pytest.mark.parametrize("case", speed.CASES, ids=lambda case: case.name)
def test_both_input_pipelines_show_the_same_images(case):
    split = speed.random_split(replace(case, images=8))
    shown = speed.Images(split, transforms.ToTensor())
    images, labels = zip(*(shown[i] for i in range(8)), strict=True)
    torch.testing.assert_close(torch.stack(images), split.images / 255)
    assert list(labels) == split.labels.tolist()


@pytest.mark.slow
def test_a_measurement_has_a_row_a_variant_and_replaces_its_earlier_self(tmp_path):
    """After an earlier one of the first case, here and elsewhere; in the second, bf16 is slow."""
    path, rates = tmp_path / "bench.csv", iter([1e12, 1e12, 1e12, 1e10])  # fp32, bf16 of each case
    machines = ["another machine", devices.device_name("cpu")]
    before = {"case": speed.CASES[0].name, "device_name": machines, "ratio": 9.0}
    pd.DataFrame(before).to_csv(path, index=False)
    small = {"student": "mlp-8", "teacher": "mlp-8", "images": 64}
    tiny = tuple(replace(c, **small, recipe=replace(c.recipe, batch_size=32)) for c in speed.CASES)
    with (
        mock.patch.object(speed, "product_rate", lambda device, precision: next(rates)),
        mock.patch("os.cpu_count", return_value=2),
    ):
        measured = speed.run(path, "cpu", 1, tiny)
    assert len(pd.read_csv(path)) == len(measured) == 1 + 2 * 6
    ours = measured[measured["device_name"] != "another machine"]
    assert (ours["ratio"] != 9).all() and (ours["images_per_second"].dropna() > 0).all()
    assert ours["share"].dropna().between(0, 1, inclusive="neither").all()
    for _, rows in ours.groupby("case"):
        assert rows.loc[rows["variant"].str.startswith("usual, "), "ratio"].max() == 1
    left_off = ours.loc[ours["images_per_second"].isna(), ["case", "variant"]]
    assert left_off.values.tolist() == [[tiny[1].name, "ours, bf16"]]


def test_rates_are_flops_over_seconds(monkeypatch):
    """The best of several products: 64³ multiplications and as many additions. A step takes thrice the
    forward pass, and the teacher's once."""
    clock = iter([0, 3, 3, 4, 4, 4.5, 4.5, 7, 7, 9, 9, 12])
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert speed.product_rate("cpu", "fp32", 64) == 2 * 64**3 / 0.5
    assert speed.step_flops(speed.CASES[0]) == (3 * 2 * 1_275_200, 2 * 2_392_800)
