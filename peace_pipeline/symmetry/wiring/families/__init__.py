"""Wirings by family: one module each, from config.json and parameter names; all are read when this package is."""

from importlib import import_module
from pkgutil import iter_modules

from peace_pipeline.symmetry.wiring.families.registry import FAMILIES, Family, family_of

__all__ = ["FAMILIES", "Family", "family_of"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
