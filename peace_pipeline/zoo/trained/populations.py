"""The architectures of the trained zoo, and how networks become a population and leave it.

An architecture is defined once for one network and for ``models`` of one shape at a time: then every parameter is
the networks' parameters concatenated along the first axis. With ``models=1`` a module is the plain network, with
the parameter names of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .convolutional import CNN, VGG, ResNet
from .layers import ACTIVATIONS, Linear
from .recurrent import Recurrent
from .transformers import Bert, ViT

State = dict[str, Tensor]


class MLP(nn.Module):
    """Linear layers with an activation between them: (batch, models · inputs) → (batch, models · labels)."""

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        sizes = [*config["input_shape"], *config["hidden_sizes"], config["num_labels"]]
        self.layers = nn.ModuleList(Linear(a, b, models) for a, b in pairwise(sizes))
        self.act = ACTIVATIONS[config.get("hidden_act", "relu")]()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


KINDS: dict[str, type[nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "vgg": VGG,
    "resnet": ResNet,
    "vit": ViT,
    "bert": Bert,
    "lstm": Recurrent,
    "gru": Recurrent,
}


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
