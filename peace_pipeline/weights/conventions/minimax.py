"""MiniMax-Text-01 (MiniMax 2025)."""

from peace_pipeline.weights.conventions.facts import STAYS_FUSED, Conventions, declare

MINIMAX = declare(Conventions(("minimax", "minimax_text_01"), fused={"qkv_proj": STAYS_FUSED}))
