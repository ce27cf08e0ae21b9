"""LoRA: pairs of low rank in a file of their own (Hu et al. 2022)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

LORA = declare(Conventions(("lora",)))
