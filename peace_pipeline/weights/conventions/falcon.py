"""Falcon (Almazrouei et al. 2023)."""

from peace_pipeline.weights.conventions.facts import BY_CONFIG, Conventions, declare

FALCON = declare(Conventions(("falcon",), fused={"query_key_value": BY_CONFIG}, multi_query=True))
