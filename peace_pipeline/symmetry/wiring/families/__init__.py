"""Wirings by family: one short table each, from config.json and parameter names."""

from peace_pipeline.symmetry.wiring.families import (
    adapters,
    clip,
    convolutional,
    decoders,
    encoder_decoders,
    encoders,
    recurrent,
    vision,
)
from peace_pipeline.symmetry.wiring.families.registry import FAMILIES, Family, family_of

__all__ = [
    "FAMILIES",
    "Family",
    "adapters",
    "clip",
    "convolutional",
    "decoders",
    "encoder_decoders",
    "encoders",
    "family_of",
    "recurrent",
    "vision",
]
