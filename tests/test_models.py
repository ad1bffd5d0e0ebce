"""The networks: sizes known from the papers and counted by hand, seeds, half precision."""

from __future__ import annotations

import copy

import pytest
import torch

from darkknowledge.experiment import cost, models, run
from darkknowledge.spec import CONVNETS, ModelSpec, SpecError

SHAPE = (3, 32, 32)
#: Trainable parameters and multiply-accumulates of one image. He et al. 2016 give 0.27, 0.46 and
#: 0.85 million parameters for depths 20, 32 and 56; ResNet-18 with a CIFAR stem is known for 11.17
#: million and 0.56 G.
SIZES = {
    "plain_cnn": (357_514, 32**2 * 27 * 32 + 16**2 * 288 * 64 + 8**2 * 576 * 128 + 2048 * 128 + 1280),
    "resnet8": (75_290, 12_239_488),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet56": (853_018, 125_485_696),
    "resnet18": (11_173_962, 555_422_720),
    "resnet34": (21_282_122, 1_159_402_496),
    "resnet50": (23_520_842, 1_297_829_888),
    "vgg13": (9_416_010, 228_267_008),
    "mobilenetv2": (2_236_682, 87_976_448),
    # Filters: 9·(24·16 + 16² + 16·64 + 3·64²); batch norms: 4·(16 + 64 + 64); linear layer: 650.
    "airbench": (126_794, 10_135_072),
}  # fmt: skip


def build(name: str, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.nn.Module:
    hidden = (16, 64, 64) if name == "airbench" else ()
    return models.build(ModelSpec(name, hidden), shape, 10, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVNETS)
def test_a_net_has_its_known_size_finite_logits_and_is_a_function_of_its_seed(name):
    nets = [build(name, seed) for seed in (0, 0, 1)]
    size = cost.static(nets[0], SHAPE)
    assert (size["parameters"], size["flops"] // 2) == SIZES[name]
    with pytest.raises(SpecError, match="28 by 28"):
        build(name, shape=(1, 28, 28))
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = [net.eval()(images) for net in nets]
    assert found[0].shape == (2, 10) and bool(found[0].isfinite().all())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_the_parameterless_shortcut_subsamples_and_fills_with_zeros():
    x = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    found = models.PadShortcut(2)(x)
    assert torch.equal(found[:, 1:3], x[:, :, ::2, ::2])
    assert not found[:, [0, 3]].any()


@pytest.mark.parametrize("name", ["resnet8", "mlp-8", "airbench-4-8-8"])
def test_stored_weights_bring_back_the_very_net_buffers_included(name):
    model, other = (models.build(ModelSpec.named(name), SHAPE, 10, seed).train() for seed in (0, 1))
    model.see(torch.randint(0, 256, (60, *SHAPE), dtype=torch.uint8))
    model(torch.rand(8, *SHAPE))  # moves the running means
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked += 70_000  # a count that half precision cannot hold
    other.load_state_dict(run.load_safetensors(run._packed(model, "net")))
    for kept, value in zip(other.state_dict().values(), model.state_dict().values(), strict=True):
        rounded = value.half().to(value.dtype) if value.is_floating_point() else value
        assert kept.dtype == value.dtype and torch.equal(kept, rounded)


@pytest.mark.parametrize("name", ["mlp-8", "resnet8"])
def test_a_net_subtracts_the_mean_image_or_colour_of_its_training_images(name):
    """Weights without a mean load as those of a net that subtracts none."""
    images, x = torch.randint(0, 256, (40, *SHAPE), dtype=torch.uint8), torch.rand(3, *SHAPE)
    net, other = (models.build(ModelSpec.named(name), SHAPE, 10, seed).eval() for seed in (0, 1))
    before = net(x)
    assert torch.equal(before, net.net(x))  # nothing is subtracted before it has seen an image
    net.see(images)
    mean = images.double().mean(0) / 255
    mean = mean if name == "mlp-8" else mean.mean((1, 2), keepdim=True)
    torch.testing.assert_close(net(x), net.net((x - mean).float()))
    assert not torch.equal(net(x), before)
    models.load_state(net, other.net.state_dict())
    assert torch.equal(net(x), other(x))


def test_whitened_patches_are_uncorrelated_and_have_unit_variance():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(200, 3, 20, 20, generator=generator)
    images = torch.nn.functional.avg_pool2d(noise, 5, 1)  # neighbours are alike, as in photographs
    images = images - images.mean((0, 2, 3), keepdim=True)
    layer = models.Whitening()
    layer.see(images)
    found = layer(images).transpose(0, 1).flatten(1)
    assert torch.equal(found[12:], -found[:12])
    covariance = (found[:12] @ found[:12].T) / found.shape[1]
    away = covariance - covariance.diag().diag()
    assert away.abs().max() < 0.02
    # 1 / (1 + ε / variance): unit but for the ε that keeps noise from being blown up
    assert (covariance.diag() < 1.02).all() and covariance.diag().max() > 0.95


def test_byte_dropout_drops_its_share_independently_and_keeps_the_mean():
    """Each unit becomes 0 or x / (1 - p), of p the nearest of 256 bytes; in eval mode nothing changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        half, fifth = models.ByteDropout(0.5).train(), models.ByteDropout(0.2).train()
        a, b, c = half(torch.ones(400, 501)), half(torch.ones(400, 501)), fifth(torch.ones(10**6))
    for found in (a, b):
        assert set(found.unique().tolist()) == {0.0, 2.0}
        assert abs(found.mean() - 1) < 0.01  # sd 0.0022
        kept = found.bool().double()
        # Neighbours in a row and in a column, eight units apart (bytes of one draw), and two draws
        for other in (kept.roll(1, 1), kept.roll(1, 0), kept.roll(8, 1)):
            assert abs((kept * other).mean() - 0.25) < 0.01  # sd 0.001
    assert abs((a.bool() & b.bool()).double().mean() - 0.25) < 0.01
    assert c.unique().tolist() == pytest.approx([0, 256 / 205])
    assert abs((c == 0).double().mean() - 51 / 256) < 0.003  # sd 0.0004
    assert torch.equal(fifth.eval()(c), c)


def test_an_mlp_drops_inputs_and_hidden_units_each_by_its_own_share():
    spec = ModelSpec("mlp", (8, 7), dropout_input=0.2, dropout_hidden=0.5)
    layers = models.MLP(spec, 9, 10).layers
    found = [getattr(m, "dropped", getattr(m, "out_features", "")) for m in layers]
    assert found == ["", 51, 8, "", 128, 7, "", 128, 10]


@pytest.mark.parametrize("name", ["mlp-8", "airbench-4-8-8"])
def test_int8_weights_are_whole_multiples_and_close(name):
    net = models.build(ModelSpec.named(name), SHAPE, 10, seed=0)
    before = copy.deepcopy(net.state_dict())
    for (key, weight), after in zip(
        net.named_parameters(), models.int8(net).parameters(), strict=True
    ):
        assert torch.equal(weight, before[key])  # the net itself stays
        if weight.ndim == 1:
            assert torch.equal(after, weight)
            continue
        step = weight.flatten(1).abs().amax(1, keepdim=True) / 127
        whole = after.flatten(1) / step
        torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-3)
        assert ((after - weight).flatten(1).abs() <= step / 2 + 1e-7).all()


# -- what they cost ---------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [1200, 800])
def test_the_nets_of_hinton_et_al_have_the_cost_that_the_paper_implies(h):
    """784·h + h·h + h·10 multiply-accumulates of two FLOPs each; each unit has a bias besides, and
    the mean image is stored with the weights. Dropout costs nothing, frozen weights are not trained."""
    products = 784 * h + h * h + h * 10
    parameters = {1200: 2_395_210, 800: 1_276_810}[h]
    assert parameters == products + 2 * h + 10
    model = models.build(ModelSpec("mlp", (h, h), 0.5, 0.5), (1, 28, 28), 10, seed=0)
    stored = 4 * (parameters + 784)
    for mode in (True, False):
        found = cost.static(model.train(mode), (1, 28, 28))
        assert found == {"parameters": parameters, "flops": 2 * products, "bytes_fp32": stored}
        assert model.training is mode
    model.net.layers[2].requires_grad_(False)
    assert cost.parameters(model) == parameters - 785 * h
