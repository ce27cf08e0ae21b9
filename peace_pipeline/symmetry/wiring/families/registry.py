"""The registry of families: how a network is wired, by the ``model_type`` (or timm's ``architecture``) it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.weights.conventions import Conventions

Wire = Callable[[WiringBuilder], None]


@dataclass(frozen=True)
class Family:
    """A family's name and its table: a function that wires a network by the names of its layers."""

    name: str
    wire: Wire


FAMILIES: dict[str, Family] = {}
"""``model_type`` → family."""
_ARCHITECTURES: list[tuple[re.Pattern[str], Family]] = []
_OTHER_LAYERS = re.compile(r"block|.*_(block|layer|fn)")
"""Arguments of timm's that put other layers into an architecture than the family's (another activation, say)."""


def family(*conventions: Conventions) -> Callable[[Wire], Wire]:
    """Decorator: a table of networks that have one of these conventions, by their ``model_type`` or timm's
    ``architecture``.

    Raises:
        ValueError: where there is a table for one of them already.
    """

    def add(wire: Wire) -> Wire:
        for each in conventions:
            if taken := FAMILIES.keys() & each.model_types:
                raise ValueError(f"wired twice: {', '.join(sorted(taken))}")
            FAMILIES.update({name: Family(name, wire) for name in each.model_types})
            if each.timm:
                _ARCHITECTURES.append((re.compile(each.timm), Family(each.model_types[0], wire)))
        return wire

    return add


def family_of(config: Mapping[str, Any]) -> Family | None:
    """The family that a config.json names."""
    model_type, architecture = config.get("model_type"), config.get("architecture")
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    arguments = config.get("model_args")
    is_other = isinstance(arguments, dict) and any(map(_OTHER_LAYERS.fullmatch, arguments))
    if not isinstance(architecture, str) or is_other:
        return None
    return next((family for pattern, family in _ARCHITECTURES if pattern.match(architecture)), None)
