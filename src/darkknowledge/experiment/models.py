"""The networks, by name. Convolutional ones are torchvision's wherever it has them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, mobilenetv2, resnet, vgg

from darkknowledge.config import callable_of
from darkknowledge.spec import ModelSpec, SpecError


class Network(nn.Module):
    """A net behind the mean of its training images: logits of ``net(x − mean)``.

    Multilayer perceptrons subtract the mean image [channels, height, width], convolutional nets the
    mean colour [channels, 1, 1]. Both are zero until :meth:`see` has looked at the training images,
    and are stored with the weights."""

    mean: Tensor

    def __init__(self, net: nn.Module, mean_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.zeros(mean_shape))

    @torch.no_grad()
    def see(self, images: Tensor) -> None:
        """Take from uint8 training ``images`` [n, C, H, W] all that the net knows before training."""
        mean = images.double().mean(0) / 255
        colour = self.mean.shape[1:] == (1, 1)
        self.mean.copy_(mean.mean((1, 2), keepdim=True) if colour else mean)
        for module in self.net.modules():
            if isinstance(module, Whitening):
                module.see(images[: module.SEEN].float() / 255 - self.mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - self.mean)


class ByteDropout(nn.Module):
    """Dropout whose masks come from random bytes, which cost a fraction of random floats.

    A unit is dropped with probability round(256 · p) / 256, and the others are scaled by one over
    the rest. On a GPU ``nn.Dropout`` is as fast; the arithmetic is the same everywhere."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(256 * p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        # Eight bytes a draw, from the whole range of int64.
        words = torch.empty(x.numel() // 8 + 1, dtype=torch.int64, device=x.device)
        drawn = words.random_(-(2**63), None).view(torch.uint8)[: x.numel()].view(x.shape)
        return x * ((drawn >= self.dropped).to(x.dtype) * (256 / (256 - self.dropped)))


class MLP(nn.Module):
    """Fully connected ReLU net with dropout on its input and on its hidden layers.

    Input: images [batch, channels, height, width] or vectors [batch, inputs]; output: logits
    [batch, classes]."""

    def __init__(self, spec: ModelSpec, inputs: int, classes: int) -> None:
        super().__init__()
        widths = (inputs, *spec.hidden, classes)
        layers: list[nn.Module] = [nn.Flatten()]
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            rate = spec.dropout_hidden if i else spec.dropout_input
            if rate:
                layers.append(ByteDropout(rate))
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])  # logits are not rectified

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# -- nets for 32 by 32 RGB images: [batch, 3, 32, 32] → logits [batch, classes] -------------------


class PadShortcut(nn.Module):
    """Option A of He et al. 2016, section 4.2: subsample by two, fill new channels with zeros."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        before = self.new_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.new_channels - before))


def cifar_resnet(depth: int, classes: int) -> nn.Module:
    """ResNet-8, 20, 32, 56 … (6n + 2 layers) of He et al. 2016, section 4.2, from torchvision's
    blocks and with its initialisation."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    layers.append(nn.ReLU(inplace=True))
    channels = 16
    for planes in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            grows = planes != channels
            shortcut = PadShortcut(planes - channels) if grows else None
            layers.append(resnet.BasicBlock(channels, planes, 2 if grows else 1, shortcut))
            channels = planes
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)]
    return _initialised(nn.Sequential(*layers))


def _initialised(model: nn.Module) -> nn.Module:
    """With He et al.'s weights for its convolutions, in torchvision's way."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def wide_resnet_of(make, classes: int) -> nn.Module:
    """One of torchvision's ImageNet ResNets with the usual stem for small images: a 3 by 3
    convolution without stride, and no pooling."""
    model = make(num_classes=classes)
    model.conv1 = _initialised(nn.Conv2d(3, 64, 3, padding=1, bias=False))
    model.maxpool = nn.Identity()
    return model


def vgg13(classes: int) -> nn.Module:
    """torchvision's VGG13 features with batch norm, and one linear layer as classifier."""
    features = _initialised(vgg.make_layers(vgg.cfgs["B"], batch_norm=True))
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def mobilenetv2_small_images(classes: int) -> nn.Module:
    """torchvision's MobileNetV2 without the strides of its first layer and of its second stage."""
    # expansion, channels, blocks, stride; Sandler et al. 2018, table 2, with 1 for 2 at 24 channels
    stages = [
        *([1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2]),
        *([6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]),
    ]
    model = mobilenetv2.MobileNetV2(classes, inverted_residual_setting=stages, dropout=0.0)
    model.features[0][0].stride = (1, 1)
    return model


def plain_cnn(classes: int, channels: tuple[int, ...] = (32, 64, 128)) -> nn.Module:
    """The plain CNN of Yuan et al. 2020 (``model/net.py`` of their code), without dropout; other
    ``channels`` of its three convolutions make a lighter one."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise((3, *channels)):
        conv = nn.Conv2d(a, b, 3, padding=1)
        layers += [conv, nn.BatchNorm2d(b), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
    layers += [nn.Flatten(), nn.Linear(4 * 4 * channels[-1], 128), nn.BatchNorm1d(128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, classes))


class Whitening(nn.Module):
    """A fixed 2 by 2 convolution whose outputs on the training images are uncorrelated and of unit
    variance, each with both signs (Jordan 2024, airbench; Page 2019): [n, 3, H, W] →
    [n, 24, H − 1, W − 1]."""

    SEEN = 5000
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", torch.zeros(24, 3, 2, 2))

    def see(self, images: Tensor) -> None:
        """Take the filters from float ``images`` [n, 3, H, W] of zero mean."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12).double()
        # On a processor everywhere: the signs of eigenvectors are the library's choice.
        variance, vectors = torch.linalg.eigh((patches.T @ patches / len(patches)).cpu())
        filters = (vectors / (variance + 1e-4).sqrt()).T.reshape(12, 3, 2, 2)
        self.filters.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.filters)


def airbench(classes: int, widths: tuple[int, ...]) -> nn.Module:
    """A small net after airbench (Jordan 2024, arXiv 2404.00498): whitened inputs, three groups of two
    convolutions with batch norm and SiLU, the first of each followed by a max-pool, a global
    max-pool and a linear layer. It takes images of any size from 17 pixels."""
    layers: list[nn.Module] = [Whitening(), nn.SiLU()]
    for a, b in itertools.pairwise((24, *widths)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(b), nn.SiLU()]
        layers += [nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.SiLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # as many filters as there are inputs begin as identities
            nn.init.dirac_(layer.weight[: layer.in_channels].detach())
    return nn.Sequential(
        *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)
    )


_CONVNETS: dict[str, Callable[..., nn.Module]] = {
    "plain_cnn": plain_cnn,
    **{f"resnet{depth}": partial(cifar_resnet, depth) for depth in (8, 20, 32, 56)},
    **{f"resnet{n}": partial(wide_resnet_of, getattr(resnet, f"resnet{n}")) for n in (18, 34, 50)},
    "vgg13": vgg13,
    "mobilenetv2": mobilenetv2_small_images,
    "airbench": airbench,
}


def build(spec: ModelSpec, shape: tuple[int, ...], classes: int, seed: int) -> Network:
    """The net of ``spec`` for images of ``shape`` [channels, height, width], initialised by ``seed``.

    Convolutional nets come in channels_last memory format. The caller's random state is left as
    it was. Raises SpecError if the net does not take such images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.name == "mlp":
            inputs = shape[0] * shape[1] * shape[2]
            return Network(MLP(spec, inputs, classes), tuple(shape))
        net = Network(_made(spec, classes), (shape[0], 1, 1))
        if tuple(shape) != (3, 32, 32) or spec.name not in _CONVNETS:
            _try(net, spec, shape, classes)
        # torch declares this keyword for tensors only, and documents it for modules too.
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _made(spec: ModelSpec, classes: int) -> nn.Module:
    """A net of ours, of torchvision's, or one that the user's own callable makes."""
    if spec.name in _CONVNETS:
        return _CONVNETS[spec.name](classes, *([spec.hidden] if spec.hidden else []))
    own = ":" in spec.name
    make = callable_of(spec.name, spec.code) if own else partial(get_model, spec.name)
    try:
        net: nn.Module = make(num_classes=classes)
    except Exception as error:
        what = "it is called with num_classes, and returns a torch.nn.Module"
        said = f"{type(error).__name__}: {error}"
        raise SpecError(f"{spec.name} cannot be made ({said}): {what}.") from error
    if not isinstance(net, nn.Module):
        raise SpecError(f"{spec.name} makes {type(net).__name__}, but must make a torch.nn.Module.")
    return net


def _try(net: nn.Module, spec: ModelSpec, shape: tuple[int, ...], classes: int) -> None:
    """Raise SpecError unless a net makes logits [n, classes] of images of ``shape``, as it is trained."""
    copied = copy.deepcopy(net)  # batch norm takes note of what it sees
    size = (
        f"images of {shape[1]} by {shape[2]} pixels with {shape[0]} channel{'s'[: shape[0] != 1]}"
    )
    try:
        with torch.no_grad():
            found = copied.train()(torch.zeros(2, *shape, device=next(net.parameters()).device))
    except Exception as error:  # whatever does not fit together
        reason = " ".join(str(error).split())[:120]
        raise SpecError(f"{spec.label} does not take {size} ({reason}).") from error
    if not isinstance(found, Tensor) or found.shape != (2, classes):
        made = (
            f"outputs of shape {tuple(found.shape)}" if isinstance(found, Tensor) else "no tensor"
        )
        due = f"one number for each of the {classes} classes is due"
        raise SpecError(f"{spec.label} makes {made} of two images, but {due}.")


@torch.no_grad()
def int8(model: nn.Module) -> nn.Module:
    """A copy of a net whose matrices and filters went through eight bits: each row (unit or filter)
    is rounded to whole multiples of its largest absolute weight / 127. Biases stay."""
    copied = copy.deepcopy(model)
    for weight in copied.parameters():
        if weight.ndim > 1:
            rows = weight.flatten(1)
            step = (rows.abs().amax(1) / 127).clamp(min=1e-12).view(-1, *[1] * (weight.ndim - 1))
            weight.copy_((weight / step).round() * step)
    return copied


def load_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load stored weights; those of nets that centre nothing (as those of recipe version 1) too."""
    if "mean" not in state:
        state = {f"net.{name}": value for name, value in state.items()}
        state["mean"] = torch.zeros_like(model.state_dict()["mean"])
    model.load_state_dict(state)
