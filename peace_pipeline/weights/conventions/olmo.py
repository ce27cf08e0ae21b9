"""OLMo (Groeneveld et al. 2024)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

OLMO = declare(Conventions(("olmo",)))
