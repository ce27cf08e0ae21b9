"""The three architectures of the trained zoo, each defined once for one network and for many at a time.

``models`` networks of one shape form one module: every parameter is the networks' parameters concatenated
along the first axis, every activation the networks' channels side by side, and layers are grouped so that no
network sees another. With ``models=1`` a module is the plain network, with the parameter names of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]


class Linear(nn.Linear):
    """``models`` linear layers: (batch, models · inputs) → (batch, models · outputs)."""

    def __init__(self, inputs: int, outputs: int, models: int) -> None:
        super().__init__(inputs, models * outputs)
        self.models = models

    def forward(self, x: Tensor) -> Tensor:
        batch, columns = len(x), self.models
        x = x.reshape(batch, columns, -1).transpose(0, 1)
        weight = self.weight.view(columns, -1, self.in_features).transpose(1, 2)
        y = torch.baddbmm(self.bias.view(columns, 1, -1), x, weight)
        return y.transpose(0, 1).reshape(batch, -1)


class MLP(nn.Module):
    """Linear layers with ReLU between them: (batch, models · inputs) → (batch, models · labels)."""

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        sizes = [*config["input_shape"], *config["hidden_sizes"], config["num_labels"]]
        self.layers = nn.ModuleList(Linear(a, b, models) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def _convolution(inputs: int, outputs: int, config: dict[str, Any], stride: int, models: int) -> nn.Conv2d:
    """Convolutions with the config's kernel and padding, biased where no norm follows."""
    return nn.Conv2d(
        models * inputs,
        models * outputs,
        config["kernel_size"],
        stride,
        config["padding"],
        groups=models,
        bias=config["model_type"] == "cnn",
    )


class CNN(nn.Module):
    """Convolutions with ReLU, flattened, and a linear classifier.

    (batch, models · channels, height, width) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        channels, side = config["input_shape"][:2]
        layers: list[nn.Module] = []
        for outputs, stride in zip(config["channels"], config["strides"], strict=True):
            layers += [_convolution(channels, outputs, config, stride, models), nn.ReLU()]
            channels, side = outputs, math.ceil(side / stride)
        self.features = nn.Sequential(*layers)
        self.classifier = Linear(channels * side**2, config["num_labels"], models)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class Block(nn.Module):
    """Two convolutions with BatchNorm around a shortcut; ReLU after the addition."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, config, stride, models)
        self.bn1 = nn.BatchNorm2d(models * outputs)
        self.conv2 = _convolution(outputs, outputs, config, 1, models)
        self.bn2 = nn.BatchNorm2d(models * outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(models * inputs, models * outputs, 1, stride, groups=models, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(models * outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A stem, one residual block a stage, average pooling and a linear classifier, named as in torchvision.

    (batch, models · channels, height, width) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        channels = config["channels"][0]
        self.conv1 = _convolution(config["input_shape"][0], channels, config, 1, models)
        self.bn1 = nn.BatchNorm2d(models * channels)
        self.stages = [f"layer{i}" for i in range(1, len(config["channels"]) + 1)]
        for name, outputs, stride in zip(self.stages, config["channels"], config["strides"], strict=True):
            self.add_module(name, nn.Sequential(Block(channels, outputs, stride, config, models)))
            channels = outputs
        self.fc = Linear(channels, config["num_labels"], models)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


KINDS: dict[str, type[nn.Module]] = {"mlp": MLP, "cnn": CNN, "resnet": ResNet}


def build(config: dict[str, Any], models: int = 1) -> nn.Module:
    """The module that a ``config.json`` describes, its weights yet to be loaded."""
    return KINDS[config["model_type"]](config, models)


def initial(config: dict[str, Any], scale: float, generator: torch.Generator) -> State:
    """Normal weights for one network, of ``scale`` times He's standard deviation; biases are zero."""
    state = build(config).state_dict()
    for name, value in state.items():
        if value.ndim > 1:
            std = scale * math.sqrt(2 / value[0].numel())
            value.copy_(torch.randn(value.shape, generator=generator) * std)
        elif name.endswith("bias"):
            value.zero_()
    return state


def stack(states: Sequence[State]) -> State:
    """The states of several networks as the state of their population."""
    first = states[0]
    return {k: torch.cat([state[k] for state in states]) if first[k].ndim else first[k] for k in first}


def select(state: State, model: int, models: int) -> State:
    """The state of one network out of a population of ``models``, copied."""
    return {k: (v.chunk(models)[model] if v.ndim else v).contiguous().clone() for k, v in state.items()}
