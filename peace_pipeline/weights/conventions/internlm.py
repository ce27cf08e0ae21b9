"""InternLM2 (Cai et al. 2024)."""

from peace_pipeline.weights.conventions.facts import BY_HEAD, Conventions, declare

INTERNLM2 = declare(Conventions(("internlm2",), fused={"wqkv": BY_HEAD}))
