"""Persimmon (Adept 2023)."""

from peace_pipeline.weights.conventions.facts import BY_HEAD, Conventions, declare

PERSIMMON = declare(Conventions(("persimmon",), fused={"query_key_value": BY_HEAD}))
