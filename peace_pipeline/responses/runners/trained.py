"""Networks of the trained zoo's architectures, run by their own modules, many of one config.json at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import (
    CannotRun,
    Model,
    Ready,
    Seen,
    labels_of,
    no_more_than,
    read_by_last_linear_layer,
)
from peace_pipeline.responses.standard import NUMBERS, TOKENS
from peace_pipeline.zoo.trained.data import CLS, PADDING
from peace_pipeline.zoo.trained.populations import KINDS, State, build, stack

_RECURRENT = ("lstm", "gru")
_NAMES = ("id2label", "label2id", "architectures", "transformers_version")
"""What of a config.json says nothing of the function."""


def fits(config: dict[str, Any]) -> bool:
    """Whether the zoo has a module for this config.json."""
    return config.get("model_type") in KINDS and "input_shape" in config


def takes(model: Model) -> bool:
    """See :class:`Runner`."""
    return fits(model.config)


def load(model: Model) -> Ready:
    """See :class:`Runner`; the checkpoint's own tensors, by name.

    Raises:
        CannotRun: where they are not the module's.
    """
    config, tensors = model.config, model.checkpoint.tensors
    shapes = {name: torch.empty(info.shape, device="meta") for name, info in tensors.items()}
    with no_more_than(model.checkpoint):
        reason = mismatch(config, shapes)
    if reason:
        raise CannotRun(reason)
    state = {
        name: model.checkpoint.read(name, torch.float32 if info.is_floating else None)
        for name, info in tensors.items()
    }
    alike = json.dumps({k: v for k, v in config.items() if k not in _NAMES}, sort_keys=True)

    def ask(states: Sequence[State], inputs: Tensor) -> Seen:
        return _seen(config, states, inputs)

    size = sum(value.nbytes for value in state.values())
    return Ready(model.key, "trained", input_spec(config), state, ask, labels_of(config), alike, size)


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


def answer(config: dict[str, Any], states: Sequence[State], inputs: Tensor) -> Tensor:
    """Logits (networks, inputs, outputs) of networks of one ``config``; differentiable in ``inputs``."""
    return _answer(_population(config, states), len(states), inputs)


def _population(config: dict[str, Any], states: Sequence[State]) -> nn.Module:
    dtype = next(value.dtype for value in states[0].values() if value.is_floating_point())
    module = build(config, len(states)).to(dtype).eval()
    module.load_state_dict(stack(states))
    return module


def _answer(module: nn.Module, networks: int, inputs: Tensor) -> Tensor:
    repeated = inputs.repeat(1, networks, *[1] * (inputs.dim() - 2))
    return module(repeated).view(len(inputs), networks, -1).transpose(0, 1)


def _seen(config: dict[str, Any], states: Sequence[State], inputs: Tensor) -> Seen:
    module = _population(config, states)
    with read_by_last_linear_layer(module) as read:
        outputs = _answer(module, len(states), inputs)
    hidden = read[0].reshape(len(inputs), len(states), -1).transpose(0, 1) if read else None
    return Seen(outputs, hidden)
