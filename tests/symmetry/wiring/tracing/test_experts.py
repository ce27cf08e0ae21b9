"""Mixtures of experts that no table has."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.symmetry.testing import STRENGTHS
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SCALE, SHUFFLE, SIGN
from tests.specimens.pretrained import DECODER, tokens
from tests.specimens.running import Saved
from tests.specimens.specimen import Config, TransformersSpecimen

MIXTURES: dict[str, Config] = {
    "OlmoeForCausalLM": DECODER | {"num_experts": 3, "num_experts_per_tok": 2},
    "DeepseekV3ForCausalLM": DECODER | {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
        "first_k_dense_replace": 1, "moe_intermediate_size": 10, "kv_lora_rank": 8, "q_lora_rank": 12,
        "qk_rope_head_dim": 4, "qk_nope_head_dim": 6, "v_head_dim": 6, "num_key_value_heads": 4,
    },
    "JambaForCausalLM": DECODER | {
        "num_experts": 3, "num_experts_per_tok": 2, "num_key_value_heads": 2, "attn_layer_period": 2,
        "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "mamba_dt_rank": 3,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MIXTURES)
def test_hidden_units_of_each_expert_stand_in_any_order(name: str, tmp_path: Path) -> None:
    saved = Saved.build(TransformersSpecimen(tokens, name, MIXTURES[name]), tmp_path / "own")
    assert (saved.wiring.method, saved.wiring.assumes, saved.wiring.notes) == ("traced", (), ())
    groups = saved.wiring.groups
    hidden = [group for group in groups.values() if SHUFFLE in group.actions]
    assert {group.actions for group in hidden} == {(SHUFFLE, SCALE, SIGN)}
    stream = next(wired.out.group for wired in saved.wiring.layers if "embed_tokens" in wired.layer.name)
    assert PERMUTE in groups[saved.wiring.order(stream)].actions
    assert any(layer.out.group == stream and "experts" in layer.layer.name for layer in saved.wiring.layers)
    everything = saved.acted(saved.element(STRENGTHS["all"]), tmp_path / "acted")
    assert saved.change(everything) < 1e-5  # its norms and routers are computed in float32
