"""The two ways that are timed are two ways to the same: same loss, same images, a real measurement."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torchvision import transforms

from darkknowledge import bench, losses

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


def test_a_measurement_has_a_row_a_variant_and_replaces_its_earlier_self(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "product_rate", lambda device, precision: 1e12)
    path = tmp_path / "bench.csv"
    other = pd.DataFrame([{"case": TINY[0].name, "device_name": "another machine", "ratio": 9.0}])
    other.to_csv(path, index=False)
    for cases in (TINY, TINY[:1]):
        table = bench.run(path, "cpu", 1, cases)
    assert len(table) == 1 + 2 * 6
    ours = table[table["device_name"] != "another machine"]
    assert (ours["images_per_second"] > 0).all()
    assert ours["share"].between(0, 1, inclusive="neither").all()
    for _, rows in ours.groupby("case"):
        assert rows.loc[rows["variant"].str.startswith("usual, "), "ratio"].max() == 1
    assert len(pd.read_csv(path)) == len(table)


def test_bf16_is_left_off_where_the_machine_is_slower_in_it(tmp_path, monkeypatch):
    rates = {"fp32": 1e12, "bf16": 1e10}
    monkeypatch.setattr(bench, "product_rate", lambda device, precision: rates[precision])
    table = bench.run(tmp_path / "bench.csv", "cpu", 1, TINY[:1]).set_index("variant")
    assert table["images_per_second"].isna().to_dict() == {
        name: name == "ours, bf16" for name in table.index
    }


def test_the_rate_of_products_is_one_that_this_machine_can_have():
    assert 1e7 < bench.product_rate("cpu", "fp32", 64) < 1e14


def test_flops_of_a_step_are_thrice_the_forward_pass_and_the_teacher_once():
    assert bench.step_flops(bench.CASES[0]) == (3 * 2 * 1_275_200, 2 * 2_392_800)
