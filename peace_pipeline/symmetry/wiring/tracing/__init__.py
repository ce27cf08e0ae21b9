"""Wirings of modules that no table has: seen by running them without values."""

from peace_pipeline.symmetry.wiring.tracing.modules import trace

__all__ = ["trace"]
