"""BLOOM (BigScience 2022)."""

from peace_pipeline.weights.conventions.facts import BY_HEAD, Conventions, declare

BLOOM = declare(Conventions(("bloom",), fused={"query_key_value": BY_HEAD}))
