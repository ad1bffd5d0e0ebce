"""The costs that the report quotes, counted by hand."""

from __future__ import annotations

import time

import pytest
import torch

from darkknowledge import cost, models
from darkknowledge.spec import ModelSpec

SHAPE = (1, 28, 28)


def net(*hidden: int, dropout: float = 0.0) -> torch.nn.Module:
    return models.build(ModelSpec("mlp", hidden, dropout, dropout), SHAPE, 10, seed=0)


@pytest.mark.parametrize(
    ("hidden", "parameters", "products"),
    [((1200, 1200), 2_395_210, 2_392_800), ((800, 800), 1_276_810, 1_275_200)],
)
def test_the_nets_of_hinton_et_al_have_the_cost_that_the_paper_implies(
    hidden, parameters, products
):
    """784·h + h·h + h·10 multiply-accumulates of two FLOPs each; each unit has a bias besides, and
    the mean image is stored with the weights."""
    (h, _) = hidden
    assert products == 784 * h + h * h + h * 10
    assert parameters == products + 2 * h + 10
    found = cost.static(net(*hidden), SHAPE)
    assert found == {
        "parameters": parameters,
        "flops": 2 * products,
        "bytes_fp32": 4 * (parameters + 784),
    }


def test_dropout_costs_no_parameter_and_no_flop():
    assert cost.static(net(30, dropout=0.5), SHAPE) == cost.static(net(30), SHAPE)


def test_frozen_weights_are_no_trainable_parameters():
    model = net(30)
    model.net.layers[1].requires_grad_(False)
    assert cost.parameters(model) == 30 * 10 + 10


@pytest.mark.parametrize("mode", [True, False])
def test_counting_restores_the_mode_of_the_net(mode):
    model = net(8, dropout=0.5).train(mode)
    cost.flops(model, SHAPE)
    assert model.training is mode


def test_latency_is_a_positive_time_and_leaves_the_threads_alone():
    threads = torch.get_num_threads()
    began = time.perf_counter()
    found = cost.latency(net(8), torch.zeros(1, *SHAPE), threads=1, seconds=0.02)
    took = time.perf_counter() - began
    assert 0 < found["median"] < took and found["iqr"] >= 0 and found["repeats"] >= 1
    assert torch.get_num_threads() == threads


def test_the_processor_has_a_name_and_a_type():
    assert cost.device_name("cpu").strip()
    found = cost.processor()
    assert found["vendor"] and found["capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["bf16"] is cost.multiplies_bf16()
