"""The losses against values computed by hand or by numpy from their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkknowledge.losses import LOSSES, decomposition, softened_kl
from darkknowledge.spec import LossSpec

LN2, LN3 = math.log(2), math.log(3)
#: KL((3/4, 1/4) ‖ (1/2, 1/2)) and the same with the roles swapped.
FORWARD = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
SWAPPED = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(0, 3, (2, 6, 10))
LABELS = np.array([0, 3, 3, 9, 5, 1])


def tensor(values, grad=False) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(mode, student=STUDENT, labels=LABELS, teacher=TEACHER, temperature=1.0, seed=0):
    student = student if torch.is_tensor(student) else tensor(student)
    found = LOSSES[mode](
        student, torch.tensor(labels), tensor(teacher), temperature, generator(seed)
    )
    return found


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def cross_entropy(z: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(softmax(z)[np.arange(len(z)), labels]).mean())


def kl(teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    """The definition: T², sum over the classes, mean over the batch."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return float(temperature**2 * (p * np.log(p / q)).sum(1).mean())


def test_the_soft_part_is_kl_from_the_teacher_to_the_student_and_not_the_other_way_round():
    teacher, student = tensor([[LN3, 0.0]]), tensor([[0.0, 0.0]])
    assert softened_kl(teacher, student, 1).item() == pytest.approx(FORWARD)
    assert softened_kl(student, teacher, 1).item() == pytest.approx(SWAPPED)
    assert pytest.approx(SWAPPED, rel=0.05) != FORWARD


def test_the_kl_is_summed_over_the_classes_and_averaged_over_the_batch():
    """An element-mean would be K times too weak, a sum would grow with the batch."""
    once = softened_kl(tensor(TEACHER), tensor(STUDENT), 1).item()
    assert once == pytest.approx(kl(TEACHER, STUDENT, 1))
    double = (tensor(np.tile(z, (2, 1))) for z in (TEACHER, STUDENT))
    twice = softened_kl(*double, 1).item()
    assert twice == pytest.approx(once)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 20.0])
def test_the_kl_carries_the_factor_t_squared(temperature):
    """Logits T times as large are the same distribution at T."""
    found = softened_kl(tensor([[LN3 * temperature, 0.0]]), tensor([[0.0, 0.0]]), temperature)
    assert found.item() == pytest.approx(temperature**2 * FORWARD)


@pytest.mark.parametrize("mode", LOSSES)
def test_the_hard_part_of_every_mode_is_cross_entropy_with_the_true_labels(mode):
    found = parts(mode, temperature=7.0)
    assert found.hard.item() == pytest.approx(cross_entropy(STUDENT, LABELS))


def test_alpha_0_is_cross_entropy_and_alpha_1_is_the_softened_kl():
    found = parts("kd", temperature=4.0)
    for alpha, expected in [(0, cross_entropy(STUDENT, LABELS)), (1, kl(TEACHER, STUDENT, 4))]:
        weights = LossSpec.mix("kd", 4, alpha)
        total = weights.w_hard * found.hard + weights.w_soft * found.soft
        assert total.item() == pytest.approx(expected)


def test_hard_has_no_soft_part():
    assert parts("hard").soft.item() == 0


@pytest.mark.parametrize("temperature", [0.1, 1.0, 20.0])
def test_a_student_with_its_teachers_logits_has_kl_0_and_no_gradient(temperature):
    student = tensor(TEACHER, grad=True)
    soft = parts("kd", student, temperature=temperature).soft
    soft.backward()
    assert soft.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_at_high_temperature_the_gradient_is_the_difference_of_the_logits_over_the_classes():
    """Hinton et al. 2015, section 2.1, for zero-mean logits; T² keeps its size."""
    student, teacher = (z - z.mean(1, keepdims=True) for z in (STUDENT, TEACHER))
    leaf = tensor(student, grad=True)
    softened_kl(tensor(teacher), leaf, 1e4).backward()
    per_sample = leaf.grad.numpy() * len(student)
    np.testing.assert_allclose(per_sample, (student - teacher) / 10, atol=1e-3)


def test_the_gradient_at_any_temperature_is_t_times_the_difference_of_the_softened_outputs():
    leaf = tensor(STUDENT, grad=True)
    softened_kl(tensor(TEACHER), leaf, 3).backward()
    expected = 3 * (softmax(STUDENT / 3) - softmax(TEACHER / 3)) / len(STUDENT)
    np.testing.assert_allclose(leaf.grad.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("mode", LOSSES)
def test_a_temperature_of_0_1_with_logits_of_50_gives_finite_losses_and_gradients(mode):
    student = torch.tensor(RNG.choice([-50.0, 50.0], (6, 10)), dtype=torch.float32)
    teacher = -student
    student.requires_grad_()
    found = LOSSES[mode](student, torch.tensor(LABELS), teacher, 0.1, generator())
    (found.hard + found.soft).backward()
    assert found.hard.isfinite() and found.soft.isfinite() and student.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_has_the_gradient_of_smoothed_targets(smoothing):
    student = tensor(STUDENT, grad=True)
    found = parts("label_smoothing", student, temperature=20.0)  # which it ignores
    ((1 - smoothing) * found.hard + smoothing * found.soft).backward()
    targets = (1 - smoothing) * np.eye(10)[LABELS] + smoothing / 10
    np.testing.assert_allclose(student.grad.numpy() * 6, softmax(STUDENT) - targets, atol=1e-12)


def test_a_uniform_teacher_at_temperature_1_is_label_smoothing():
    assert parts("uniform_teacher").soft.item() == pytest.approx(parts("label_smoothing").soft)


def test_a_uniform_teacher_gives_the_kl_from_the_uniform_distribution_at_any_temperature():
    found = parts("uniform_teacher", temperature=5.0).soft.item()
    assert found == pytest.approx(kl(np.zeros_like(STUDENT), STUDENT, 5))


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_the_virtual_teacher_of_tfkd_reg_is_right_with_0_99(temperature):
    virtual = np.full((6, 10), 0.01 / 9)
    virtual[np.arange(6), LABELS] = 0.99
    found = parts("tfkd_reg", temperature=temperature).soft.item()
    assert found == pytest.approx(kl(np.log(virtual), STUDENT, temperature))
    agreeing = parts("tfkd_reg", np.log(virtual), temperature=temperature).soft.item()
    assert agreeing == pytest.approx(0, abs=1e-12)


def test_a_shuffled_teacher_deals_its_logits_by_a_permutation_of_the_batch():
    """Over many draws each permutation occurs, and nothing that is no permutation."""
    student, teacher, labels = STUDENT[:3], TEACHER[:3], LABELS[:3]
    possible = [kl(teacher[list(p)], student, 2) for p in itertools.permutations(range(3))]
    drawn = [parts("shuffled_teacher", student, labels, teacher, 2.0, s).soft for s in range(100)]
    hits = [min(range(6), key=lambda i, v=v: abs(possible[i] - v)) for v in drawn]
    assert [possible[i] for i in hits] == pytest.approx([float(v) for v in drawn])
    assert set(hits) == set(range(6))


def test_a_shuffled_teacher_draws_from_the_generator_alone():
    first, again = (parts("shuffled_teacher", seed=4).soft.item() for _ in range(2))
    assert first == again != parts("shuffled_teacher", seed=5).soft.item()


def test_a_permuted_teacher_keeps_the_true_class_and_deals_out_the_rest_of_each_image():
    """With three classes there are two ways to deal; each occurs, for every image on its own."""
    student, teacher, labels = STUDENT[:2, :3], TEACHER[:2, :3], np.array([0, 2])
    swapped = np.stack([teacher[0, [0, 2, 1]], teacher[1, [1, 0, 2]]])
    possible = [
        kl(np.stack([a[0], b[1]]), student, 2)
        for a, b in itertools.product((teacher, swapped), repeat=2)
    ]
    drawn = [parts("permuted_teacher", student, labels, teacher, 2.0, s).soft for s in range(60)]
    hits = [min(range(4), key=lambda i, v=v: abs(possible[i] - v)) for v in drawn]
    assert [possible[i] for i in hits] == pytest.approx([float(v) for v in drawn])
    assert set(hits) == set(range(4))


def by_hand(temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zhao et al. 2022, equations 3 to 5, from probabilities: target, non-target KL, 1 − p_t."""
    rows = np.arange(len(LABELS))
    p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    a, b = p[rows, LABELS], q[rows, LABELS]
    target = a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))
    keep = np.arange(10) != LABELS[:, None]
    p_rest = p[keep].reshape(6, 9) / (1 - a)[:, None]
    q_rest = q[keep].reshape(6, 9) / (1 - b)[:, None]
    return target, (p_rest * np.log(p_rest / q_rest)).sum(1), 1 - a


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_parts_of_the_kl_are_those_of_the_definition_and_add_up_to_it(temperature):
    target, nontarget, rest = by_hand(temperature)
    soft = {
        mode: parts(mode, temperature=temperature).soft.item()
        for mode in ("kd", "target_part", "nontarget_part", "decoupled")
    }
    square = temperature**2
    assert soft["target_part"] == pytest.approx(square * target.mean())
    assert soft["nontarget_part"] == pytest.approx(square * (rest * nontarget).mean())
    assert soft["decoupled"] == pytest.approx(square * (target + nontarget).mean())
    assert soft["target_part"] + soft["nontarget_part"] == pytest.approx(soft["kd"])


def test_neither_part_of_the_kl_reads_what_the_other_one_is_about():
    """Other wrong classes leave the target's part alone, another confidence that of the rest."""
    labels = torch.tensor(LABELS)
    dealt = tensor(TEACHER).clone()
    for row, label in enumerate(LABELS):
        others = [c for c in range(10) if c != label]
        dealt[row, others] = dealt[row, others[::-1]]
    surer = tensor(TEACHER).clone()
    surer[torch.arange(6), labels] += 3
    plain, of_dealt, of_surer = (
        decomposition(tensor(STUDENT), labels, teacher, 4.0)
        for teacher in (tensor(TEACHER), dealt, surer)
    )
    assert torch.allclose(plain.target, of_dealt.target)
    assert not torch.allclose(plain.nontarget, of_dealt.nontarget)
    assert torch.allclose(plain.nontarget, of_surer.nontarget)
    assert bool((of_surer.not_target < plain.not_target).all())


def test_an_untrained_teacher_teaches_like_any_other():
    found, expected = parts("untrained_teacher", temperature=4.0), parts("kd", temperature=4.0)
    assert found.soft.item() == expected.soft.item() == pytest.approx(kl(TEACHER, STUDENT, 4))


@pytest.mark.parametrize("mode", LOSSES)
def test_no_gradient_reaches_the_teacher_of_a_detached_target(mode):
    teacher = tensor(TEACHER)
    before = teacher.clone()
    student = tensor(STUDENT, grad=True)
    found = LOSSES[mode](student, torch.tensor(LABELS), teacher, 4.0, generator())
    (found.hard + found.soft).backward()
    assert torch.equal(teacher, before) and student.grad is not None


logits = st.lists(st.floats(-30, 30), min_size=4, max_size=4)


@given(teacher=logits, student=logits, temperature=st.floats(0.1, 100))
def test_the_kl_is_never_negative(teacher, student, temperature):
    assert softened_kl(tensor([teacher]), tensor([student]), temperature) >= -1e-9


@given(teacher=logits, student=logits, temperature=st.floats(0.1, 100), shift=st.floats(-30, 30))
def test_a_constant_added_to_all_logits_of_either_side_changes_nothing(
    teacher, student, temperature, shift
):
    teacher, student = tensor([teacher]), tensor([student])
    plain = softened_kl(teacher, student, temperature).item()
    tolerance = dict(rel=1e-6, abs=1e-7 * max(1, temperature**2) * 1e-3)
    assert softened_kl(teacher + shift, student, temperature).item() == pytest.approx(
        plain, **tolerance
    )
    assert softened_kl(teacher, student + shift, temperature).item() == pytest.approx(
        plain, **tolerance
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_confidence_only_keeps_the_true_class_at_t_and_evens_out_the_others(temperature):
    """Against the definition: p of the true class at T as the teacher gives it, the rest shared."""
    p = softmax(TEACHER / temperature)
    kept = p[np.arange(6), LABELS][:, None]
    target = np.repeat((1 - kept) / 9, 10, axis=1)
    target[np.arange(6), LABELS] = kept[:, 0]
    q = softmax(STUDENT / temperature)
    expected = temperature**2 * (target * np.log(target / q)).sum(1).mean()
    found = parts("confidence_only", temperature=temperature)
    assert found.soft.item() == pytest.approx(expected)
    # A teacher whose wrong classes are alike has nothing to lose.
    even = np.zeros((6, 10))
    even[np.arange(6), LABELS] = 3.0
    found, whole = (
        parts(mode, teacher=even, temperature=temperature) for mode in ("confidence_only", "kd")
    )
    assert found.soft.item() == pytest.approx(whole.soft.item())


def test_an_image_without_a_label_has_no_hard_part_and_a_soft_one():
    labels = LABELS.copy()
    labels[[1, 4]] = -1
    found, all_labelled = parts("kd", labels=labels), parts("kd")
    own = -np.log(softmax(STUDENT)[np.arange(6), LABELS])
    assert found.hard.item() == pytest.approx(own[[0, 2, 3, 5]].sum() / 6)
    assert found.soft.item() == all_labelled.soft.item()
    none = parts("kd", labels=np.full(6, -1))
    assert none.hard.item() == 0 and none.soft.item() == all_labelled.soft.item()
