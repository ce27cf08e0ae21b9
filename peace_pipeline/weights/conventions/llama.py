"""LLaMA and what is built like it (Touvron et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

LLAMA = declare(Conventions(("llama", "mistral", "qwen2", "qwen3")))
