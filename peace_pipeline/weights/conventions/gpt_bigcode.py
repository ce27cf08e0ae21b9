"""StarCoder: GPT-2 with one key head (Li et al. 2023)."""

from peace_pipeline.weights.conventions.facts import BY_CONFIG, Conventions, declare

GPT_BIGCODE = declare(Conventions(("gpt_bigcode",), fused={"c_attn": BY_CONFIG}, multi_query=True))
