"""The training loop: reproducible, paired between the modes, and honest about its teacher."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn

from conftest import small_run, synthetic_split
from darkknowledge.experiment import models, muon, training
from darkknowledge.experiment.data import Split, scaled
from darkknowledge.experiment.losses import softened_kl
from darkknowledge.experiment.run import network
from darkknowledge.experiment.training import NonFiniteLoss, fit
from darkknowledge.spec import MODES, TEACHER_MODES, TRUE_LABELS, LossSpec, ModelSpec

SHAPE = (1, 8, 8)
VALIDATION = synthetic_split(50, 4)


def net(seed=0, hidden=(16,), dropout=0.0) -> nn.Module:
    return models.build(ModelSpec("mlp", hidden, dropout, dropout), SHAPE, 10, seed)


def confident(seed=7, dropout=0.0) -> nn.Module:
    """An untrained teacher with large logits: its opinions differ from image to image."""
    teacher = net(seed, dropout=dropout)
    with torch.no_grad():
        for p in teacher.parameters():
            p.mul_(4)
    return teacher


def loss_of(mode="hard", temperature=4.0, alpha=0.9) -> LossSpec:
    return LossSpec() if mode == "hard" else LossSpec.mix(mode, temperature, alpha)


def train(
    model, split, loss=TRUE_LABELS, teacher=None, seed=0, precision="fp32", told=None, **recipe
):
    how, rest = small_run(**recipe).recipe, dict(name="my run", on_epoch=(told or []).append)
    rest |= dict(seed=seed, precision=precision, teacher=teacher)
    return fit(model, split, VALIDATION, how, loss, **rest)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


class Spy(nn.Module):
    """Passes through, and remembers what a net was given and in which state it was."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.seen, self.states = inner, [], []

    def forward(self, x):
        output = self.inner(x)
        self.states.append((self.training, output.requires_grad))
        self.seen.append(x.detach().clone())
        return output

    def batches(self) -> list[torch.Tensor]:
        """Those that it was trained on."""
        return [x for x, (training, _) in zip(self.seen, self.states, strict=True) if training]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_losses_and_weights_to_the_bit(tiny_split, precision):
    """Whatever the global random state, which it leaves alone; weights are fp32 in either precision."""

    def run(seed, state):
        torch.manual_seed(state)
        before, model = torch.get_rng_state(), net(seed, dropout=0.3)
        teacher = confident(dropout=0.5)
        found = train(model, tiny_split, loss_of("shuffled_teacher"), teacher, seed,
                      precision, augmentation="jitter")  # fmt: skip
        assert torch.equal(torch.get_rng_state(), before)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        return [(e.loss_hard, e.loss_soft, e.validation_accuracy) for e in found], weights(model)

    with torch.random.fork_rng(devices=[]):
        (history, trained), (again, retrained), (other, others) = run(1, 1), run(1, 2), run(2, 1)
    assert history == again and torch.equal(trained, retrained)
    assert history != other and not torch.equal(trained, others)


@pytest.mark.parametrize("augmentation", ["none", "jitter"])
def test_every_mode_of_one_seed_begins_alike_and_sees_the_same_batches_in_the_same_order(
    tiny_split, augmentation
):
    begun, seen = {}, {}
    for mode in MODES:
        taught = mode in TEACHER_MODES
        run = small_run(loss=loss_of(mode), teacher=small_run(seed=100) if taught else None)
        student, teacher = Spy(network(run, SHAPE)), confident() if taught else None
        begun[mode] = weights(student)
        train(student, tiny_split, run.loss, teacher, augmentation=augmentation)
        seen[mode] = torch.stack(student.batches())
    for found in (begun, seen):
        assert all(torch.equal(x, found["hard"]) for x in found.values())
    assert not torch.equal(begun["hard"], weights(network(small_run(seed=1), SHAPE)))
    assert not torch.equal(*seen["hard"].chunk(2))  # the second epoch is shuffled anew


def test_order_augmentation_and_chance_are_drawn_from_a_stream_each(tiny_split):
    seeds = {training.stream_seed(s, stream) for s in range(50) for stream in training.STREAMS}
    assert len(seeds) == 50 * len(training.STREAMS)  # no two are alike
    with mock.patch.object(training, "generator", wraps=training.generator) as opened:
        train(net(), tiny_split, seed=5)
    assert sorted(call.args for call in opened.call_args_list) == [
        (5, "augmentation"), (5, "loss"), (5, "order")]  # fmt: skip


def test_a_net_that_arrives_in_eval_mode_is_trained_with_its_dropout(tiny_split):
    nets = [net(dropout=0.5).train(mode) for mode in (True, False)]
    for model in nets:
        train(model, tiny_split)
    assert torch.equal(*map(weights, nets))


@pytest.mark.parametrize(("size", "sizes"), [(32, [32] * 6), (1000, [200])])
def test_an_epoch_shows_each_image_once_and_leaves_out_the_incomplete_batch(
    tiny_split, size, sizes
):
    student = Spy(net())
    train(student, tiny_split, epochs=1, batch_size=size)
    batches = student.batches()
    assert [len(b) for b in batches] == sizes  # of 200 images
    shown = {bytes(x.numpy()) for x in torch.cat(batches)}
    assert len(shown) == sum(sizes)
    assert shown <= {bytes(x.numpy()) for x in scaled(tiny_split.images)}


def test_equal_parts_of_a_training_are_of_its_sides_and_its_teacher_sees_the_full_size(tiny_split):
    """And so does its validation; a resized image keeps its mean."""

    def any_size(seed: int) -> Spy:
        torch.manual_seed(seed)
        return Spy(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10)))

    with torch.random.fork_rng(devices=[]):
        student, teacher = any_size(0), any_size(1)
    recipe = dict(epochs=3, batch_size=100, sides=(8, 9, 12), augmentation="jitter")
    train(student, tiny_split, loss_of("kd"), teacher, **recipe)
    assert [x.shape[-1] for x in student.batches()] == [8, 8, 9, 9, 12, 12]
    assert {x.shape[-1] for x in teacher.seen} == {8}
    for resized, view in zip(student.batches(), teacher.seen, strict=True):
        means = (x.mean((2, 3)) for x in (resized, view))
        torch.testing.assert_close(*means, atol=0.02, rtol=0)


@pytest.mark.parametrize("augmentation", ["none", "jitter"])
def test_a_teacher_teaches_in_eval_mode_without_gradient_and_stays_as_it_was(
    tiny_split, augmentation
):
    inner = confident(dropout=0.5).train()
    teacher, before = Spy(inner), weights(inner)
    train(net(), tiny_split, loss_of("kd"), teacher, augmentation=augmentation)
    assert set(teacher.states) == {(False, False)}
    # Its logits are computed once where the inputs do not change.
    assert (sum(map(len, teacher.seen)) == len(tiny_split)) == (augmentation == "none")
    assert torch.equal(weights(inner), before)
    assert all(p.grad is None for p in inner.parameters())


@pytest.mark.parametrize("augmentation", ["none", "jitter"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny_split, augmentation):
    """Unless each image meets its own logits, of the very pixels that the student sees, in every batch of
    every epoch, it would have."""
    recipe, soft = dict(lr=1e-6, augmentation=augmentation), {}
    for mode in ("kd", "shuffled_teacher"):
        found = train(confident(), tiny_split, loss_of(mode, 2, 1), confident(), **recipe)
        soft[mode] = [epoch.loss_soft for epoch in found]
    assert max(soft["kd"]) < 1e-5 and min(soft["shuffled_teacher"]) > 0.1


def test_the_losses_of_an_epoch_are_the_means_over_its_images(tiny_split):
    """With a learning rate of next to nothing, those of the first weights."""
    student, teacher = net(), confident()
    z_s, z_t = (training.logits(m, tiny_split.images, "fp32") for m in (student, teacher))
    hard = nn.functional.cross_entropy(z_s, tiny_split.labels).item()
    soft = softened_kl(z_t, z_s, 2).item()
    recipe = dict(lr=1e-12, epochs=1, batch_size=50)
    (found,) = train(student, tiny_split, loss_of("kd", 2), teacher, **recipe)
    assert (found.loss_hard, found.loss_soft) == pytest.approx((hard, soft), rel=1e-5)


def test_alpha_0_trains_like_hard_labels_to_the_bit_and_alpha_1_is_blind_to_them(tiny_split):
    liar = Split(tiny_split.images, 9 - tiny_split.labels)

    def trained(split, alpha=None):
        loss = LossSpec() if alpha is None else loss_of("kd", alpha=alpha)
        train(model := net(), split, loss, confident())
        return weights(model)

    assert torch.equal(trained(tiny_split), trained(tiny_split, 0))
    assert not torch.equal(trained(tiny_split, 0), trained(liar, 0))
    assert torch.equal(trained(tiny_split, 1), trained(liar, 1))


def test_the_gradient_is_that_of_both_weighted_parts(tiny_split):
    """Twice the weights at half the learning rate is the same SGD step."""
    once, twice = net(), net()
    recipe = dict(epochs=1, batch_size=200, schedule="linear")
    train(once, tiny_split, LossSpec("kd", 3, 0.2, 0.7), confident(), lr=0.2, **recipe)
    train(twice, tiny_split, LossSpec("kd", 3, 0.4, 1.4), confident(), lr=0.1, **recipe)
    torch.testing.assert_close(weights(once), weights(twice))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_run_and_epoch(tiny_split):
    with pytest.raises(NonFiniteLoss, match=r"my run .* epoch \d"):
        train(net(), tiny_split, lr=1e20, schedule="linear")
    # One step an epoch: the loss of the only batch is still that of the healthy weights.
    with pytest.raises(NonFiniteLoss):
        train(net(), tiny_split, lr=1e42, schedule="linear", epochs=1, batch_size=200)


def test_the_history_has_one_row_an_epoch_and_ends_with_the_net_that_is_returned(tiny_split):
    """The last epoch counts, not the best one."""
    model, told = net(), [0]
    found = train(model, tiny_split, told=told, epochs=5)
    assert [e.epoch for e in found] == [1, 2, 3, 4, 5] and told == [0, *found]
    right = training.logits(model, VALIDATION.images, "fp32").argmax(1) == VALIDATION.labels
    assert found[-1].validation_accuracy == pytest.approx(right.float().mean())


@pytest.mark.parametrize("mode", [True, False])
def test_logits_are_those_of_eval_mode_in_any_batching_and_the_mode_is_restored(tiny_split, mode):
    model = net(dropout=0.5).train(mode)
    found = training.logits(model, tiny_split.images, "fp32", batch=7)
    assert model.training is mode and not found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(found, model.eval()(scaled(tiny_split.images)))
    rounded = training.logits(model, tiny_split.images, "bf16")  # whose products are rounded
    assert not torch.equal(found, rounded) and found.dtype == rounded.dtype == torch.float32
    torch.testing.assert_close(found, rounded, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(("schedule", "first"), [("one_cycle", 0.04), ("linear", 1)])
def test_the_learning_rate_follows_its_schedule_down_to_0(schedule, first):
    """One-cycle starts at 1/25 of its peak."""
    recipe = small_run(schedule=schedule, lr=0.5).recipe
    optim, used = training.optimiser(net(), recipe), []
    rate = training.schedule(optim, recipe, 100)
    for _ in range(100):
        used.append(optim.param_groups[0]["lr"] / 0.5)
        optim.step()
        rate.step()
    assert used[0] == pytest.approx(first) and used[-1] == pytest.approx(0, abs=0.011)
    assert max(used) == pytest.approx(1)


@pytest.mark.parametrize(("optimiser", "lr"), [("sgd", 0.5), ("adamw", 0.05)])
def test_a_net_learns_what_can_be_learned_and_its_student_from_soft_labels_alone(optimiser, lr):
    split, teacher, soft = synthetic_split(400, 1), net(1), loss_of("kd", temperature=2, alpha=1)
    recipe = dict(optimiser=optimiser, epochs=6, batch_size=50)
    history = train(teacher, split, lr=lr, **recipe)
    assert history[-1].loss_hard < history[0].loss_hard / 2
    taught = train(net(2), split, soft, teacher, lr=0.6 * lr, **recipe)
    assert min(history[-1].validation_accuracy, taught[-1].validation_accuracy) > 0.95


@pytest.mark.parametrize("shape", [(8, 40), (40, 8)])
def test_muon_keeps_the_singular_vectors_of_a_step_and_brings_its_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ muon.orthogonalised(matrix) @ v.T
    torch.testing.assert_close(found, found.diag().diag(), atol=1e-4, rtol=0)
    # 3 of the iterations bring values from above a tenth of the norm to between 0.5 and 1.3
    assert (values / values.norm() > 0.1).all()
    assert (found.diag() > 0.5).all() and (found.diag() < 1.3).all()


def test_muon_steps_along_other_weights_like_nesterov_and_keeps_the_norm_of_filters():
    net = models.build(ModelSpec("airbench", (4, 8, 8)), (3, 32, 32), 10, seed=0)
    optimiser, plain = muon.Muon(net, 0.1, 0.6), net.net[-1].weight
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net(images).logsumexp(1).sum().backward()
    expected = plain.detach() - 0.1 * 1.6 * plain.grad
    optimiser.step()
    torch.testing.assert_close(plain.detach(), expected)
    for p in net.parameters():
        if p.ndim == 4:  # the norm √out, but for this one step, which is no longer than 0.13 √out
            assert abs(p.norm() / len(p) ** 0.5 - 1) < 0.14
