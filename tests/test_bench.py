"""The two ways that are timed are two ways to the same: same loss, same images, a real measurement."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import pytest
import torch
from torchvision import transforms

from darkknowledge import bench, cost, losses

TINY = tuple(
    replace(
        case,
        student="mlp-8",
        teacher="mlp-8",
        images=64,
        recipe=replace(case.recipe, batch_size=32),
    )
    for case in bench.CASES
)


def test_the_usual_loss_is_the_one_of_this_study():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 10, generator=generator) for _ in range(2))
    labels = torch.arange(6)
    parts = losses.kd(student, labels, teacher, bench.TEMPERATURE, None)
    ours = bench.LOSS.w_hard * parts.hard + bench.LOSS.w_soft * parts.soft
    torch.testing.assert_close(bench.usual_loss(student, teacher, labels), ours)


@pytest.mark.parametrize("case", bench.CASES, ids=lambda case: case.name)
def test_both_input_pipelines_show_the_same_images(case):
    split = bench.random_split(replace(case, images=8))
    shown = bench.Images(split, transforms.ToTensor())
    for i in range(8):
        image, label = shown[i]
        torch.testing.assert_close(image, split.images[i] / 255)
        assert label == split.labels[i]


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> pd.DataFrame:
    """Both cases after an earlier measurement of one, here and elsewhere; bf16 is slow in the other."""
    path = tmp_path_factory.mktemp("bench") / "bench.csv"
    machines = ["another machine", cost.device_name("cpu")]
    pd.DataFrame({"case": TINY[0].name, "device_name": machines, "ratio": 9.0}).to_csv(
        path, index=False
    )
    rates = iter([1e12, 1e12, 1e12, 1e10])  # fp32 and bf16 of each case
    with (
        mock.patch.object(bench, "product_rate", lambda device, precision: next(rates)),
        mock.patch("os.cpu_count", return_value=2),
    ):
        table = bench.run(path, "cpu", 1, TINY)
    assert len(pd.read_csv(path)) == len(table)
    return table


@pytest.mark.slow
def test_a_measurement_has_a_row_a_variant_and_replaces_its_earlier_self(measured):
    assert len(measured) == 1 + 2 * 6
    ours = measured[measured["device_name"] != "another machine"]
    assert (ours["ratio"] != 9).all()
    assert (ours["images_per_second"].dropna() > 0).all()
    assert ours["share"].dropna().between(0, 1, inclusive="neither").all()
    for _, rows in ours.groupby("case"):
        assert rows.loc[rows["variant"].str.startswith("usual, "), "ratio"].max() == 1


@pytest.mark.slow
def test_bf16_is_left_off_where_the_machine_is_slower_in_it(measured):
    ours = measured[measured["device_name"] != "another machine"]
    left_off = ours.loc[ours["images_per_second"].isna(), ["case", "variant"]]
    assert left_off.values.tolist() == [[TINY[1].name, "ours, bf16"]]


def test_the_rate_of_products_is_their_flops_over_their_seconds(monkeypatch):
    """The best of several; 64³ multiplications and as many additions."""
    clock = iter([0, 3, 3, 4, 4, 4.5, 4.5, 7, 7, 9, 9, 12])
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert bench.product_rate("cpu", "fp32", 64) == 2 * 64**3 / 0.5


def test_flops_of_a_step_are_thrice_the_forward_pass_and_the_teacher_once():
    assert bench.step_flops(bench.CASES[0]) == (3 * 2 * 1_275_200, 2 * 2_392_800)
