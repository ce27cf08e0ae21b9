"""Names by which modules save their tensors."""

from __future__ import annotations

import pytest
import torch
import transformers

from peace_pipeline.symmetry.wiring.tracing.naming import names_in_file

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 30,
}


@pytest.mark.parametrize(
    ("kind", "name", "own"),
    [
        ("NomicBert", "encoder.layers.0.attn.v.weight", "layers.0.self_attn.v_proj.weight"),
        ("NomicBert", "encoder.layers.0.attn.out_proj.weight", "layers.0.self_attn.o_proj.weight"),
        ("Olmoe", "layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.gate_up_proj"),
    ],
)
def test_names_are_those_of_the_file_or_of_what_it_has_in_one(kind: str, name: str, own: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**SMALL)
    with torch.device("meta"):
        module = getattr(transformers, f"{kind}Model")(config)
    assert names_in_file(module, {"num_attention_heads": 2, "hidden_size": 16})[name] == own
