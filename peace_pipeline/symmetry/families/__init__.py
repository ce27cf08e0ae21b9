"""Wirings by family: one short table each, from config.json and parameter names."""

from peace_pipeline.symmetry.families import convolutional, decoders, encoders
from peace_pipeline.symmetry.families.registry import FAMILIES, Family, family_of

__all__ = ["FAMILIES", "Family", "convolutional", "decoders", "encoders", "family_of"]
