"""What PEACE is compared with. Every module here registers its baselines; adding one is adding a file."""

from importlib import import_module
from pkgutil import iter_modules

from peace_pipeline.evaluation.baselines.registry import BASELINES, Baseline

__all__ = ["BASELINES", "Baseline"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
