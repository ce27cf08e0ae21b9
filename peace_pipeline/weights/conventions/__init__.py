"""What names and layouts mean, family by family: data, one module a family, each read when this package is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from peace_pipeline.weights.conventions.facts import CONVENTIONS, Conventions

__all__ = ["CONVENTIONS", "Conventions", "conventions_of", "number_in"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

_NONE = Conventions()


def conventions_of(config: Mapping[str, Any]) -> Conventions:
    """The conventions of the family that a config.json names; those of none where it names no known one."""
    kind = config.get("model_type")
    return CONVENTIONS.get(kind, _NONE) if isinstance(kind, str) else _NONE


def number_in(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of a config's ``keys`` that holds a positive number; ``None`` where none does."""
    values = (config.get(key) for key in keys)
    return next((value for value in values if type(value) is int and 0 < value < 2**31), None)
