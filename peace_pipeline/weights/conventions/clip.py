"""CLIP (Radford et al. 2021)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

CLIP = declare(Conventions(("clip", "clip_text_model", "clip_vision_model")))
