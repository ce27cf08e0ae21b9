"""CodeGen (Nijkamp et al. 2023)."""

from peace_pipeline.weights.conventions.facts import STAYS_FUSED, Conventions, declare

CODEGEN = declare(Conventions(("codegen",), fused={"qkv_proj": STAYS_FUSED}))
