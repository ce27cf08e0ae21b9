"""GPT-2 and what shares its modules (Radford et al. 2019)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

GPT2 = declare(Conventions(("gpt2",), tied_by_default=True, conv1d=True))
OTHERS = declare(Conventions(("openai-gpt", "imagegpt", "decision_transformer"), conv1d=True))
