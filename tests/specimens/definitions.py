"""Small networks with the parameter names of torchvision, timm and PEFT, none of which the tests need.

Images are (batch, channels, height, width), tokens inside (batch, tokens, size); classifiers yield
(batch, labels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "linear": lambda x: x,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
}
"""Activations by the ``hidden_act`` of a configuration."""


class MLP(nn.Module):
    """Linear layers ``layers.N`` with one activation between them."""

    def __init__(self, sizes: Sequence[int], act: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.act = ACTIVATIONS[act]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


class DenseLayer(nn.Module):
    """Norm, 1 × 1 convolution, norm, 3 × 3 convolution: reads all channels so far, adds ``growth``."""

    def __init__(self, inputs: int, inner: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(inner), nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    """Huang et al. 2017, with torchvision's names: ``blocks`` says how many layers each block has."""

    def __init__(self, stem: int, growth: int, inner: int, blocks: Sequence[int], labels: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, stem, 3, padding=1, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(stem))
        self.features.add_module("relu0", nn.ReLU())
        channels = stem
        for number, depth in enumerate(blocks, 1):
            block = nn.Sequential()
            for layer in range(1, depth + 1):
                block.add_module(f"denselayer{layer}", DenseLayer(channels, inner, growth))
                channels += growth
            self.features.add_module(f"denseblock{number}", block)
            if number < len(blocks):
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(channels))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                self.features.add_module(f"transition{number}", transition)
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


def convolution(
    inputs: int, outputs: int, kernel: int, act: type[nn.Module] | None, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm and activation, as torchvision nests them: ``0``, ``1`` and ``2``."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *([act()] if act else []))


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (Sandler et al. 2018), in torchvision's ``conv``; ReLU6, linear at the end."""

    def __init__(self, inputs: int, outputs: int, expand: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.conv = nn.Sequential(
            *([convolution(inputs, wide, 1, nn.ReLU6)] if expand > 1 else []),
            convolution(wide, wide, 3, nn.ReLU6, stride, wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.kept = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.kept else self.conv(x)


class MobileNetV2(nn.Module):
    """torchvision's MobileNetV2; ``blocks`` are (outputs, expansion, stride)."""

    def __init__(self, stem: int, blocks: Sequence[tuple[int, int, int]], last: int, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, stem, 3, nn.ReLU6, 2)]
        channels = stem
        for outputs, expand, stride in blocks:
            layers.append(InvertedResidual(channels, outputs, expand, stride))
            channels = outputs
        self.features = nn.Sequential(*layers, convolution(channels, last, 1, nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, labels))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class SqueezeExcite(nn.Module):
    """A gate for each channel from the channels' means (Hu et al. 2018), with timm's names."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, inner, 1)
        self.conv_expand = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv_expand(F.silu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class MobileBlock(nn.Module):
    """timm's block of EfficientNet: a depthwise separable one without expansion, else an inverted residual."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int, inner: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expands, self.kept = expand > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.conv_pw, self.bn1 = nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.conv_dw = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.se = SqueezeExcite(wide, inner)
        project = nn.Conv2d(wide, outputs, 1, bias=False)
        if self.expands:
            self.bn2, self.conv_pwl, self.bn3 = nn.BatchNorm2d(wide), project, nn.BatchNorm2d(outputs)
        else:
            self.bn1, self.conv_pw, self.bn2 = nn.BatchNorm2d(wide), project, nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            y = F.silu(self.bn1(self.conv_pw(x)))
            y = self.bn3(self.conv_pwl(self.se(F.silu(self.bn2(self.conv_dw(y))))))
        else:
            y = self.bn2(self.conv_pw(self.se(F.silu(self.bn1(self.conv_dw(x))))))
        return x + y if self.kept else y


class EfficientNet(nn.Module):
    """Tan and Le 2019, with timm's names; ``stages`` hold (outputs, expansion, kernel, stride, inner) a block."""

    def __init__(
        self, stem: int, stages: Sequence[Sequence[tuple[int, int, int, int, int]]], last: int, labels: int
    ) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem)
        channels, built = stem, []
        for stage in stages:
            blocks = []
            for outputs, *shape in stage:
                blocks.append(MobileBlock(channels, outputs, *shape))
                channels = outputs
            built.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*built)
        self.conv_head, self.bn2 = nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last)
        self.classifier = nn.Linear(last, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.silu(self.bn1(self.conv_stem(x))))
        return self.classifier(F.silu(self.bn2(self.conv_head(x))).mean((2, 3)))


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FeedForward(nn.Module):
    """timm's ``fc1``, GELU, ``fc2``."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, hidden), nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class ConvNeXtBlock(nn.Module):
    """timm's block: depthwise convolution, norm, feed-forward over the channels, learned layer scale."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.mlp = nn.LayerNorm(channels, eps=1e-6), FeedForward(channels, hidden)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtStage(nn.Module):
    """timm's stage: ``downsample`` (norm and convolution, but in the first stage), then ``blocks``."""

    def __init__(self, inputs: int, channels: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if inputs != channels:
            self.downsample = nn.Sequential(
                LayerNorm2d(inputs, eps=1e-6), nn.Conv2d(inputs, channels, 2, stride=2)
            )
        self.blocks = nn.Sequential(*(ConvNeXtBlock(channels, hidden) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class ConvNeXt(nn.Module):
    """Liu et al. 2022, with timm's names; ``stages`` are (channels, hidden, depth)."""

    def __init__(self, stages: Sequence[tuple[int, int, int]], labels: int) -> None:
        super().__init__()
        channels = stages[0][0]
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 4, stride=4), LayerNorm2d(channels, eps=1e-6))
        built = []
        for outputs, hidden, depth in stages:
            built.append(ConvNeXtStage(channels, outputs, hidden, depth))
            channels = outputs
        self.stages = nn.Sequential(*built)
        self.head = nn.Module()
        self.head.norm, self.head.fc = LayerNorm2d(channels, eps=1e-6), nn.Linear(channels, labels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.stages(self.stem(x)).mean((2, 3), keepdim=True)
        return self.head.fc(self.head.norm(pooled).flatten(1))


class Permute(nn.Module):
    """Axes in another order, without parameters."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.axes)


class CNBlock(nn.Module):
    """torchvision's block of ConvNeXt: ``block.0``, ``.2``, ``.3``, ``.5`` and ``layer_scale`` (channels, 1, 1)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, channels),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * self.block(x)


class TorchvisionConvNeXt(nn.Module):
    """Liu et al. 2022, with torchvision's names; ``stages`` are (channels, hidden, depth)."""

    def __init__(self, stages: Sequence[tuple[int, int, int]], labels: int) -> None:
        super().__init__()
        channels = stages[0][0]
        stem = nn.Sequential(nn.Conv2d(3, channels, 4, stride=4), LayerNorm2d(channels, eps=1e-6))
        layers: list[nn.Module] = [stem]
        for outputs, hidden, depth in stages:
            if outputs != channels:
                norm = LayerNorm2d(channels, eps=1e-6)
                layers.append(nn.Sequential(norm, nn.Conv2d(channels, outputs, 2, stride=2)))
                channels = outputs
            layers.append(nn.Sequential(*(CNBlock(channels, hidden) for _ in range(depth))))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            LayerNorm2d(channels, eps=1e-6), nn.Flatten(1), nn.Linear(channels, labels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3), keepdim=True))


class Recurrent(nn.Module):
    """Layers of torch's own LSTM or GRU, and a linear layer ``fc`` that reads every step.

    (batch, steps, inputs) → (batch, steps, labels).
    """

    def __init__(
        self, kind: str, inputs: int, hidden: int, layers: int, labels: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.kind = kind
        module = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.add_module(kind, module(inputs, hidden, layers, batch_first=True, bidirectional=bidirectional))
        self.fc = nn.Linear(hidden * (2 if bidirectional else 1), labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.get_submodule(self.kind)(x)[0])


class LoraLinear(nn.Module):
    """A linear layer and a product of low rank beside it (Hu et al. 2022), with PEFT's names."""

    def __init__(self, base_layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base_layer, self.scale = base_layer, scale
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, base_layer.out_features, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.scale * self.lora_B["default"](self.lora_A["default"](x))
