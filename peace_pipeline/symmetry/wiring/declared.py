"""Plain chains that need no guess, as their config.json declares them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo.trained.populations import build

_SERIES = re.compile(r"\d+$")
_CHAINS = ("mlp", "cnn", "vgg")
"""Of the zoo's kinds, those that apply one layer after the other."""


def is_declared(tensors: Iterable[TensorInfo], config: dict[str, Any]) -> bool:
    """Whether a config.json says that a network is a plain chain: that of PEACE's own zoo whose module has exactly
    these tensors, or one that tells the activation of a numbered series of layers and nothing else."""
    tensors = list(tensors)
    return is_ours(tensors, config) or (
        activation(config) is not None
        and len(config) == 1
        and len({_SERIES.sub("", info.name.rpartition(".")[0]) for info in tensors}) == 1
    )


def is_ours(tensors: Iterable[TensorInfo], config: dict[str, Any]) -> bool:
    """Whether the own zoo's module of a ``config`` is a chain that has exactly these floating-point tensors."""
    found = {info.name: info.shape for info in tensors if info.is_floating}
    if config.get("model_type") not in _CHAINS or len(_pytree.tree_leaves(config)) > 1000 + len(found):
        return False  # what has more numbers than the network could have layers is not worth the building
    try:
        with torch.device("meta"):
            state = build(config).state_dict()
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError):
        return False
    return found == {name: tuple(value.shape) for name, value in state.items() if value.is_floating_point()}
