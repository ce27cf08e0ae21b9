"""Networks of the trained zoo's architectures, run by their own modules, many of one config.json at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.standard import NUMBERS, TOKENS
from peace_pipeline.zoo.trained.data import CLS, PADDING
from peace_pipeline.zoo.trained.populations import KINDS, State, build, stack

_RECURRENT = ("lstm", "gru")


def fits(config: dict[str, Any]) -> bool:
    """Whether the zoo has a module for this config.json."""
    return config.get("model_type") in KINDS and "input_shape" in config


def input_spec(config: dict[str, Any]) -> InputSpec:
    """What the networks of a config.json take."""
    shape = tuple(config["input_shape"])
    if "vocab_size" in config:
        return InputSpec(TOKENS, shape, vocabulary=config["vocab_size"], padding=PADDING, first=CLS)
    return InputSpec(NUMBERS, shape, channels_first=config["model_type"] not in _RECURRENT)


def mismatch(config: dict[str, Any], state: State) -> str | None:
    """Why these tensors are not the module's; ``None`` where they are."""
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in build(config).state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    missing = sorted(name for name in wanted if found.get(name) != wanted[name])
    others = sorted(found.keys() - wanted.keys())
    if missing:
        return f"its tensor {missing[0]} is not that of the module: {found.get(missing[0])}"
    return f"its module has no tensor {others[0]}" if others else None


def answer(config: dict[str, Any], states: Sequence[State], inputs: torch.Tensor) -> torch.Tensor:
    """Logits (networks, inputs, outputs) of networks of one ``config``; differentiable in ``inputs``."""
    module = build(config, len(states)).eval()
    module.load_state_dict(stack(states))
    repeated = inputs.repeat(1, len(states), *[1] * (inputs.dim() - 2))
    return module(repeated).view(len(inputs), len(states), -1).transpose(0, 1)
