"""Convolutional networks: plain (over images or signals), VGG and ResNet.

``models`` networks form one module: activations are the networks' channels side by side, and layers are grouped
so that no network sees another.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from .layers import ACTIVATIONS, Linear


def _convolution(inputs: int, outputs: int, config: dict[str, Any], stride: int, models: int) -> nn.Module:
    """A convolution over the input's one or two dimensions; biased where no norm follows."""
    kind = nn.Conv2d if len(config["input_shape"]) == 3 else nn.Conv1d
    return kind(
        models * inputs,
        models * outputs,
        config["kernel_size"],
        stride,
        config["padding"],
        groups=models,
        bias=config["model_type"] != "resnet",
    )


def _activation(config: dict[str, Any]) -> nn.Module:
    return ACTIVATIONS[config.get("hidden_act", "relu")]()


class CNN(nn.Module):
    """Convolutions with an activation after each, flattened, and a linear classifier.

    (batch, models · channels, height, width) or (batch, models · channels, length) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        channels, side, *others = config["input_shape"]
        layers: list[nn.Module] = []
        for outputs, stride in zip(config["channels"], config["strides"], strict=True):
            layers += [_convolution(channels, outputs, config, stride, models), _activation(config)]
            channels, side = outputs, math.ceil(side / stride)
        self.features = nn.Sequential(*layers)
        self.classifier = Linear(channels * side ** (1 + len(others)), config["num_labels"], models)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class VGG(nn.Module):
    """Stages of convolutions with max-pooling after each, and a classifier of three layers, as in torchvision.

    (batch, models · channels, height, width) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        channels, side, _ = config["input_shape"]
        layers: list[nn.Module] = []
        for widths in config["stages"]:
            for outputs in widths:
                layers.append(_convolution(channels, outputs, config, 1, models))
                if config["norm"] == "batch_norm":
                    layers.append(nn.BatchNorm2d(models * outputs))
                layers.append(_activation(config))
                channels = outputs
            layers.append(nn.MaxPool2d(2))
            side //= 2
        self.features = nn.Sequential(*layers)
        hidden = config["hidden_size"]
        # Identity keeps the positions of torchvision's Dropout, so that names agree.
        self.classifier = nn.Sequential(
            *(Linear(channels * side**2, hidden, models), _activation(config), nn.Identity()),
            *(Linear(hidden, hidden, models), _activation(config), nn.Identity()),
            Linear(hidden, config["num_labels"], models),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class Block(nn.Module):
    """Two convolutions with BatchNorm around a shortcut; activation after the addition."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, config, stride, models)
        self.bn1 = nn.BatchNorm2d(models * outputs)
        self.conv2 = _convolution(outputs, outputs, config, 1, models)
        self.bn2 = nn.BatchNorm2d(models * outputs)
        self.act = _activation(config)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(models * inputs, models * outputs, 1, stride, groups=models, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(models * outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.act(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A stem, one or more residual blocks a stage, average pooling and a classifier, named as in torchvision.

    (batch, models · channels, height, width) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        channels = config["channels"][0]
        self.conv1 = _convolution(config["input_shape"][0], channels, config, 1, models)
        self.bn1 = nn.BatchNorm2d(models * channels)
        self.act = _activation(config)
        depths = config.get("depths", [1] * len(config["channels"]))
        self.stages = [f"layer{i}" for i in range(1, len(depths) + 1)]
        for name, outputs, stride, depth in zip(
            self.stages, config["channels"], config["strides"], depths, strict=True
        ):
            first = Block(channels, outputs, stride, config, models)
            others = (Block(outputs, outputs, 1, config, models) for _ in range(depth - 1))
            self.add_module(name, nn.Sequential(first, *others))
            channels = outputs
        self.fc = Linear(channels, config["num_labels"], models)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))
