"""The facts of a family that reading and wiring its checkpoints rest on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ONE_BY_ONE, BY_HEAD, BY_CONFIG, STAYS_FUSED = "one by one", "by head", "by config", ""
"""All queries, then all keys, then all values; or those of one key's heads, then the next; or as the config says; or
nobody knows how."""


@dataclass(frozen=True)
class Marks:
    """What a checkpoint without a config.json is known by: the ``names`` of some weights, whatever stands before them.

    ``heads`` is a config's key for a number of heads → the weight whose rows are the entries of all of them; ``keys``
    the key, and the weight, of heads of keys, where these may be fewer. ``config`` is what else a config would say.
    ``sizes`` are more keys → a weight, or several of which one is there, with "|" between, and the axis that is so
    long (or a name up to a number: how many there are). ``exactly`` is a weight → an axis, and how long it must
    be; then none of the weights ``without`` may be there.
    ``language`` is a class of language models, whose head may be tied, and what stands before the names in it.
    """

    names: tuple[str, ...]
    heads: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, str] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    language: tuple[str, str] | None = None
    exactly: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conventions:
    """What names and layouts mean in the checkpoints of a family.

    ``model_types`` are what config.json calls it, ``timm`` what timm's ``architecture`` begins with (a regular
    expression). ``fused`` is the name of a module that holds queries, keys and values → how they are laid out.
    ``gains_less_one`` are the norms that are stored as what they exceed one by. ``gates`` are those of a recurrent
    cell, in their order. ``marks`` are what its checkpoints are known by without a config.
    """

    model_types: tuple[str, ...] = ()
    timm: str | None = None
    conv1d: bool = False
    """Whether matrices are stored (in, out)."""
    fused: Mapping[str, str] = field(default_factory=dict)
    multi_query: bool = False
    """Whether all queries share one key head unless the config says otherwise."""
    gains_less_one: re.Pattern[str] | None = None
    gates: str = ""
    marks: tuple[Marks, ...] = ()


CONVENTIONS: dict[str, Conventions] = {}
"""``model_type`` → what is declared of it."""


def declare(conventions: Conventions) -> Conventions:
    """Register a family's conventions.

    Raises:
        ValueError: where one of its model types has been declared before.
    """
    if taken := CONVENTIONS.keys() & conventions.model_types:
        raise ValueError(f"declared twice: {', '.join(sorted(taken))}")
    CONVENTIONS.update(dict.fromkeys(conventions.model_types, conventions))
    return conventions
