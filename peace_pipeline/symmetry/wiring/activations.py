"""Which symmetries hidden units have, by their activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peace_pipeline.symmetry.wiring.symmetries import FLIP, LINEAR, PERMUTE, SCALE, SIGN

HOMOGENEOUS = frozenset({"relu", "leaky_relu", "leakyrelu"})
ODD = frozenset({"tanh", "sin", "sine", "softsign", "hardtanh", "tanhshrink"})
SIGMOID = frozenset({"sigmoid", "hard_sigmoid", "hardsigmoid"})
IDENTITY = frozenset({"identity", "linear", "none"})
_ACTIVATION_KEYS = ("hidden_act", "activation_function", "hidden_activation", "activation", "act_fn")
_BY_ACTIVATION = {
    HOMOGENEOUS: (PERMUTE, SCALE),
    ODD: (PERMUTE, SIGN),
    SIGMOID: (PERMUTE, FLIP),
    IDENTITY: (PERMUTE, SCALE, SIGN, LINEAR),
}
NOT_POOLED = (SIGN, FLIP, LINEAR)
"""What max-pooling doesn't commute with."""


def activation(config: Mapping[str, Any], *keys: str) -> str | None:
    """The hidden activation that a config.json names (under ``keys``, else the usual ones), in lower case."""
    names = (config.get(key) for key in keys or _ACTIVATION_KEYS)
    return next((name.lower() for name in names if isinstance(name, str)), None)


def actions_of(activation: str | None) -> tuple[str, ...]:
    """The symmetries of hidden units with this activation; permutations alone where it is not known."""
    found = (actions for names, actions in _BY_ACTIVATION.items() if activation in names)
    return next(found, (PERMUTE,))
