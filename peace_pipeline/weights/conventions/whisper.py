"""Whisper (Radford et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

WHISPER = declare(Conventions(("whisper",), tied_by_default=True))
