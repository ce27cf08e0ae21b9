"""GPT-NeoX and Pythia (Black et al. 2022)."""

from peace_pipeline.weights.conventions.facts import BY_HEAD, Conventions, declare

GPT_NEOX = declare(Conventions(("gpt_neox",), fused={"query_key_value": BY_HEAD}))
JAPANESE = declare(Conventions(("gpt_neox_japanese",), fused={"query_key_value": BY_HEAD}))
