"""Small modules with a real forward, and their networks as the encoder takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from peace_pipeline.symmetry.form.folding import Read, folded_layer
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.zoo.trained import build

RELU = {"hidden_act": "relu"}
CONFIGS: dict[str, dict[str, Any]] = {
    "mlp": {"model_type": "mlp", "input_shape": [12], "hidden_sizes": [10, 8, 9], "num_labels": 4},
    "cnn": {
        "model_type": "cnn", "input_shape": [1, 8, 8], "channels": [6, 5, 7], "strides": [1, 2, 2],
        "kernel_size": 3, "padding": 1, "num_labels": 4,
    },
    "resnet": {
        "model_type": "resnet", "input_shape": [1, 8, 8], "channels": [6, 6, 8], "strides": [1, 1, 2],
        "kernel_size": 3, "padding": 1, "num_labels": 4,
    },
    "bottleneck": {"model_type": "resnet", "input_shape": [1, 8, 8], "num_labels": 4},
}  # fmt: skip
"""Architecture → the config.json of a small network of it; ``module_of`` builds the network."""
WIRED_AS = {"mlp": "chain", "cnn": "chain", "resnet": "family", "bottleneck": "family"}


class Bottleneck(nn.Module):
    """torchvision's block of three convolutions, with its names."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class BottleneckNet(nn.Module):
    """Two stages of bottleneck blocks, one of which keeps the stream that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.layer1 = nn.Sequential(Bottleneck(6, 4, 10), Bottleneck(10, 5, 10))
        self.layer2 = nn.Sequential(Bottleneck(10, 4, 12))
        self.fc = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def module_of(architecture: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A random network in evaluation mode; its norms have random statistics, gains and shifts."""
    torch.manual_seed(seed)
    module = BottleneckNet() if architecture == "bottleneck" else build(CONFIGS[architecture])
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.3, 3)
            nn.init.uniform_(part.weight, -1.5, 1.5)
            nn.init.uniform_(part.bias, -1, 1)
    return module.to(dtype).eval()


def inputs_of(architecture: str, count: int = 5) -> torch.Tensor:
    """Random inputs of an architecture, float64."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, *CONFIGS[architecture]["input_shape"], generator=generator, dtype=torch.float64)


def config_of(architecture: str) -> dict[str, Any]:
    """The config.json of an architecture with ReLU."""
    return CONFIGS[architecture] | RELU


def folded_tensors(wiring: Wiring, read: Read) -> dict[str, torch.Tensor]:
    """All folded tensors of a network, none of them cut, under the names of ``wiring.folded``."""
    return {
        f"{position}.{role}": tensor
        for position, wired in enumerate(wiring.layers)
        for role, tensor in folded_layer(wired, read).items()
    }


def infos_of(state: Mapping[str, torch.Tensor]) -> list[TensorInfo]:
    """The inventory of a state dictionary."""
    return [TensorInfo(name, tuple(value.shape), dtype_name(value.dtype)) for name, value in state.items()]


def infos(**shapes: tuple[int, ...]) -> list[TensorInfo]:
    """An inventory of float32 tensors by name (``__`` stands for a dot) and shape."""
    return [TensorInfo(name.replace("__", "."), shape, "float32") for name, shape in shapes.items()]


def as_input(key: str, state: Mapping[str, torch.Tensor], config: dict[str, Any]) -> Network:
    """A state dictionary as the encoder takes it."""
    wiring = infer_wiring(infos_of(state), config)
    return Network(key, wiring, folded_tensors(wiring, lambda name: state[name].detach()))


def networks_of(
    architecture: str, count: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Network]:
    """Random networks as the encoder takes them; ``independent`` ones are residual networks under odd names."""
    base = "resnet" if architecture == "independent" else architecture
    found = []
    for number in range(count):
        state = module_of(base, seed + number, dtype).state_dict()
        config = config_of(base)
        if architecture == "independent":
            state, config = {f"odd.{name}": value for name, value in state.items()}, {}
        found.append(as_input(f"{architecture}-{number}", state, config))
    return found
