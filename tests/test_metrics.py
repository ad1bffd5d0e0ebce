"""The metrics against values counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from darkknowledge.experiment import metrics

LN3 = math.log(3)


def sure(*classes: int, of: int = 3) -> torch.Tensor:
    return 5 * torch.eye(of, dtype=torch.float64)[list(classes)]


@pytest.fixture
def guess():
    """Seeded logits [50, 4] and labels [50]."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 4, (50,), generator=generator)


def test_confusion_counts_true_classes_in_rows_and_predicted_ones_in_columns():
    labels, predicted = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 0])
    found = metrics.confusion(predicted, labels, 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]
    assert metrics.errors(sure(0, 1, 1, 0, 0), labels) == 3
    # It keeps its shape when a class never occurs.
    one = metrics.confusion(torch.tensor([0]), torch.tensor([0]), 3)
    assert one.tolist() == [[1, 0, 0], [0] * 3, [0] * 3]


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_images():
    """Two images said 0.75 and one is right, two said 0.9 and both are."""
    ln9 = math.log(9)
    logits = torch.tensor([[LN3, 0.0], [LN3, 0.0], [ln9, 0.0], [ln9, 0.0]])
    labels = torch.tensor([0, 1, 0, 0])
    apart = (2 * abs(1 / 2 - 0.75) + 2 * abs(1 - 0.9)) / 4
    together = abs(3 / 4 - 0.825)
    assert metrics.calibration_error(logits, labels) == pytest.approx(apart, abs=1e-6)
    assert metrics.calibration_error(logits, labels, bins=2) == pytest.approx(together, abs=1e-6)
    certain = 100 * sure(0, 1, 2)
    for labels, error in (([0, 1, 2], 0), ([1, 2, 0], 1)):
        assert metrics.calibration_error(certain, torch.tensor(labels)) == pytest.approx(error)


def test_agreement_and_nll_are_those_counted_by_hand():
    assert metrics.agreement(sure(0, 1, 2, 2), sure(0, 2, 2, 2)) == 0.75
    logits = torch.tensor([[LN3, 0.0], [0.0, 0.0]])  # probabilities 3/4, 1/4 and 1/2, 1/2
    expected = -(math.log(1 / 4) + math.log(1 / 2)) / 2
    assert metrics.report(logits, torch.tensor([1, 0]))["nll"] == pytest.approx(expected)


def test_mean_logits_average_the_images_of_each_true_class():
    logits = torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [7.0, 8.0, 9.0]])
    found = metrics.mean_logits(logits, torch.tensor([2, 2, 0]))
    assert found.tolist() == [[7, 8, 9], [0, 0, 0], [2, 3, 4]]


def test_soft_labels_grow_flatter_with_temperature(guess):
    logits, _ = guess
    entropies = [metrics.soft_targets(logits, t)["entropy"] for t in (0.05, 1, 4, 90)]
    assert entropies == sorted(entropies)
    assert entropies[-1] == pytest.approx(math.log(4), abs=1e-3)
    ignorant = metrics.soft_targets(torch.zeros(6, 4), 5.0)
    assert ignorant == {"images": 6, "entropy": pytest.approx(math.log(4))}


@given(some.integers(0, 10_000), some.sampled_from([[2], [0, 3], [0, 1, 2]]))
def test_the_chosen_bias_has_the_fewest_errors_of_all(seed, unseen):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 4, generator=generator, dtype=torch.float64)  # no margin is a bias
    labels = torch.randint(0, 4, (40,), generator=generator)
    margins = metrics.Margins.of(logits, unseen)

    def errors(bias: float) -> int:
        moved = logits.clone()
        moved[:, unseen] += bias
        assert torch.equal(margins.predicted(bias), moved.argmax(1))
        return int((moved.argmax(1) != labels).sum())

    best = min(errors(float(b)) for b in torch.arange(-9, 9, 0.1))
    assert errors(margins.fewest_errors(labels)) <= best


def test_the_label_free_bias_gives_unseen_classes_their_share(guess):
    logits, _ = guess
    margins = metrics.Margins.of(logits, [1])
    for share in (0.1, 0.5, 0.9):
        given_away = (margins.predicted(margins.matching_share(share)) == 1).double().mean()
        assert given_away == pytest.approx(share)


@pytest.mark.parametrize("rare", [2, 5, 20])
def test_a_net_that_is_right_loses_nothing_to_the_label_free_shift_however_rare_the_class(rare):
    labels = torch.tensor([0] * rare + [1] * 30 + [2] * 40)
    logits = 9.0 * torch.nn.functional.one_hot(labels, 3).float()
    found = metrics.bias_shifts((logits, labels), (logits, labels), [0])
    assert found["label_free"]["errors"] == 0


def test_where_validation_and_test_hold_the_same_images_both_choose_the_same_shift(guess):
    logits, labels = guess
    found = metrics.bias_shifts((logits.flip(0), labels.flip(0)), guess, [2])
    assert found["validation"]["errors"] == found["oracle"]["errors"] <= found["none"]["errors"]
    assert found["none"]["errors"] == metrics.errors(logits, labels)
