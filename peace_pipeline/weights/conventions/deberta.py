"""DeBERTa (He et al. 2021)."""

from peace_pipeline.weights.conventions.facts import BY_HEAD, Conventions, declare

DEBERTA = declare(Conventions(("deberta",), fused={"in_proj": BY_HEAD}))
