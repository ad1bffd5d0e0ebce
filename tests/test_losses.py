"""The losses against values computed by hand or by numpy from their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkknowledge.experiment.losses import LOSSES, cross_entropy, softened_kl

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(0, 3, (2, 6, 10))
LABELS, ROWS = np.array([0, 3, 3, 9, 5, 1]), np.arange(6)


def tensor(values, grad=False) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def soft(mode, student=STUDENT, labels=LABELS, teacher=TEACHER, temperature=1.0, seed=0):
    student = student if torch.is_tensor(student) else tensor(student)
    chance = torch.Generator().manual_seed(seed)
    return LOSSES[mode](student, torch.tensor(labels), tensor(teacher), temperature, chance)


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def kl(p: np.ndarray, student: np.ndarray, temperature: float) -> float:
    """The definition, from probabilities at T: T², sum over the classes, mean over the batch."""
    q = softmax(student / temperature)
    return float(temperature**2 * (p * np.log(p / q)).sum(1).mean())


def soft_kl(teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    return kl(softmax(teacher / temperature), student, temperature)


# -- the divergence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_the_kl_sums_over_the_classes_averages_over_the_batch_and_carries_t_squared(temperature):
    """An element-mean would be K times too weak, a sum would grow with the batch."""
    for times in (1, 2):
        teacher, student = (tensor(np.tile(z, (times, 1))) for z in (TEACHER, STUDENT))
        found = softened_kl(teacher, student, temperature).item()
        assert found == pytest.approx(soft_kl(TEACHER, STUDENT, temperature))
    # By hand, of (3/4, 1/4) and (1/2, 1/2), and the other way round: at T of logits T times as large.
    teacher, student = tensor([[math.log(3) * temperature, 0.0]]), tensor([[0.0, 0.0]])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    swapped = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    found = [softened_kl(*z, temperature).item() for z in ((teacher, student), (student, teacher))]
    assert found == pytest.approx([temperature**2 * forward, temperature**2 * swapped])


def test_the_gradient_is_t_times_the_difference_of_the_softened_outputs():
    """And at high temperature the difference of the logits over the classes (Hinton et al. 2015, section
    2.1), for zero-mean logits; T² keeps its size. A student with its teacher's logits has none."""
    student, teacher = (z - z.mean(1, keepdims=True) for z in (STUDENT, TEACHER))
    exact = 3 * (softmax(student / 3) - softmax(teacher / 3))
    hot = (student - teacher) / 10
    for z, temperature, expected, atol in (
        (student, 3, exact, 1e-12), (student, 1e4, hot, 1e-3), (teacher, 0.1, 0 * hot, 1e-12),
    ):  # fmt: skip
        leaf = tensor(z, grad=True)
        softened_kl(tensor(teacher), leaf, temperature).backward()
        np.testing.assert_allclose(leaf.grad.numpy() * len(student), expected, atol=atol)


logits = st.lists(st.floats(-30, 30), min_size=4, max_size=4)


@given(logits, logits, st.floats(0.1, 100), st.floats(-30, 30))
def test_the_kl_is_never_negative_and_blind_to_a_constant_added_to_all_logits_of_a_side(
    teacher, student, temperature, shift
):
    teacher, student = tensor([teacher]), tensor([student])
    plain = softened_kl(teacher, student, temperature).item()
    assert plain >= -1e-9
    near = pytest.approx(plain, rel=1e-6, abs=1e-10 * max(1, temperature**2))
    assert softened_kl(teacher + shift, student, temperature).item() == near
    assert softened_kl(teacher, student + shift, temperature).item() == near


# -- the modes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", LOSSES)
def test_every_mode_spares_the_teacher_and_is_finite(mode):
    """Also at T = 0.1 with logits of 50, where the student has no agreement with its teacher."""
    extreme = np.random.default_rng(0).choice([-50.0, 50.0], (6, 10))
    for student, teacher, temperature, kind in (
        (STUDENT, TEACHER, 7.0, torch.float64), (extreme, -extreme, 0.1, torch.float32),
    ):  # fmt: skip
        leaf, taught = (torch.tensor(z, dtype=kind) for z in (student, teacher))
        leaf.requires_grad_()
        labels = torch.tensor(LABELS)
        found = LOSSES[mode](leaf, labels, taught, temperature, torch.Generator())
        (cross_entropy(leaf, labels) + found).backward()
        assert torch.equal(taught, torch.tensor(teacher, dtype=kind))
        assert found.isfinite() and leaf.grad.isfinite().all() and leaf.grad.any()
        assert mode != "hard" or found.item() == 0


def target_of(mode: str, temperature: float) -> np.ndarray:
    """What a mode's student is drawn to at T, from its definition."""
    taught = softmax(TEACHER / temperature)
    if mode in ("kd", "untrained_teacher"):
        return taught
    if mode == "uniform_teacher":
        return np.full((6, 10), 0.1)
    kept = taught[ROWS, LABELS] if mode == "confidence_only" else np.full(6, 0.99)
    shared = np.repeat((1 - kept)[:, None] / 9, 10, axis=1)
    shared[ROWS, LABELS] = kept
    return softmax(np.log(shared) / temperature) if mode == "tfkd_reg" else shared


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize(
    "mode", ["kd", "untrained_teacher", "uniform_teacher", "tfkd_reg", "confidence_only"]
)
def test_the_soft_part_of_a_mode_is_the_kl_from_what_its_teacher_says(mode, temperature):
    """Tf-KD_reg's virtual teacher is right with 0.99; confidence only keeps p of the true class at T."""
    found = soft(mode, temperature=temperature).item()
    assert found == pytest.approx(kl(target_of(mode, temperature), STUDENT, temperature))


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_has_the_gradient_of_smoothed_targets_at_any_temperature(smoothing):
    student = tensor(STUDENT, grad=True)
    hard = cross_entropy(student, torch.tensor(LABELS))
    found = soft("label_smoothing", student, temperature=20.0)
    ((1 - smoothing) * hard + smoothing * found).backward()
    targets = (1 - smoothing) * np.eye(10)[LABELS] + smoothing / 10
    np.testing.assert_allclose(student.grad.numpy() * 6, softmax(STUDENT) - targets, atol=1e-12)


SWAPPED_PAIR = np.stack([TEACHER[0, [0, 2, 1]], TEACHER[1, [1, 0, 2]]])
#: Mode → labels, and every teacher that chance may make of three images, or of two with three classes.
DEALT = {
    "shuffled_teacher": (LABELS[:3], [TEACHER[list(p)] for p in itertools.permutations(range(3))]),
    "permuted_teacher": (np.array([0, 2]), [
        np.stack([a[0], b[1]])  # the true class stays, each image is dealt on its own
        for a, b in itertools.product((TEACHER[:2, :3], SWAPPED_PAIR), repeat=2)]),
}  # fmt: skip


@pytest.mark.parametrize("mode", DEALT)
def test_a_teacher_that_is_dealt_out_gives_every_permutation_and_nothing_else(mode):
    labels, dealt = DEALT[mode]
    images, classes = dealt[0].shape
    student, teacher = STUDENT[:images, :classes], TEACHER[:images, :classes]
    possible = [soft_kl(z, student, 2) for z in dealt]
    drawn = [soft(mode, student, labels, teacher, 2.0, seed).item() for seed in range(100)]
    hits = [min(range(len(dealt)), key=lambda i, v=v: abs(possible[i] - v)) for v in drawn]
    assert [possible[i] for i in hits] == pytest.approx(drawn)
    assert set(hits) == set(range(len(dealt)))
    assert drawn[4] == soft(mode, student, labels, teacher, 2.0, 4).item()  # of its seed alone


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_parts_of_the_kl_are_those_of_the_definition_and_add_up_to_it(temperature):
    """Zhao et al. 2022, equations 3 to 5, from probabilities."""
    p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    a, b = p[ROWS, LABELS], q[ROWS, LABELS]
    target = a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))
    keep = np.arange(10) != LABELS[:, None]
    p, q = p[keep].reshape(6, 9) / (1 - a)[:, None], q[keep].reshape(6, 9) / (1 - b)[:, None]
    nontarget = (p * np.log(p / q)).sum(1)
    expected = {"target_part": target, "nontarget_part": (1 - a) * nontarget,
                "decoupled": target + nontarget}  # fmt: skip
    found = {m: soft(m, temperature=temperature).item() for m in (*expected, "kd")}
    for mode, values in expected.items():
        assert found[mode] == pytest.approx(temperature**2 * values.mean())
    assert found["target_part"] + found["nontarget_part"] == pytest.approx(found["kd"])


def test_an_image_without_a_label_has_no_hard_part_and_a_soft_one():
    labels = LABELS.copy()
    labels[[1, 4]] = -1
    every = (labels, LABELS, np.full(6, -1))
    own = -np.log(softmax(STUDENT)[ROWS, LABELS])
    due = [own[[0, 2, 3, 5]].sum() / 6, own.mean(), 0]
    assert [cross_entropy(tensor(STUDENT), torch.tensor(y)).item() for y in every] == pytest.approx(
        due
    )
    assert len({soft("kd", labels=y).item() for y in every}) == 1
