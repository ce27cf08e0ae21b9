"""Wirings of modules that no table has: seen by running them without values."""

from peace_pipeline.symmetry.tracing.modules import trace

__all__ = ["trace"]
