"""What names and layouts mean, family by family: data, one module a family, each read when this package is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from peace_pipeline.weights.conventions.facts import CONVENTIONS, Conventions

__all__ = ["CONVENTIONS", "Conventions", "conventions_of"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

_NONE = Conventions()


def conventions_of(config: Mapping[str, Any]) -> Conventions:
    """The conventions of the family that a config.json names; those of none where it names no known one."""
    kind = config.get("model_type")
    return CONVENTIONS.get(kind, _NONE) if isinstance(kind, str) else _NONE
