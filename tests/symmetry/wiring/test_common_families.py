"""Symmetries of what is most common on the Hub beside the first families, proven by running the real modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.symmetry.group.elements import ALL
from peace_pipeline.symmetry.testing import TOLERANCE, movements
from tests.specimens import Specimen
from tests.specimens.pretrained import GROUPED, TOKENS, TransformersSpecimen, tokens, translated_tokens
from tests.specimens.running import Saved
from tests.symmetry.wiring.test_text_families import (
    POST_NORM,
    PRE_NORM,
    ROTARY,
    Actions,
    actions_on,
    check_left_out,
    check_places,
    ended_tokens,
    without_stream,
)

MIXTURE = GROUPED | {"num_local_experts": 3, "num_experts_per_tok": 2}
QWEN = GROUPED | {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "head_dim": 8, "decoder_sparse_step": 1,
    "shared_expert_intermediate_size": 28, "mlp_only_layers": [],
}  # fmt: skip
BART = TOKENS | {
    "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40, "decoder_ffn_dim": 36, "max_position_embeddings": 18, "decoder_start_token_id": 2,
    "use_cache": False, "forced_eos_token_id": None,
}  # fmt: skip
OPT = TOKENS | {
    "hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 18,
    "word_embed_proj_dim": 24, "use_cache": False,
}  # fmt: skip
MIXED = ROTARY | {"hidden": {"shuffle scale sign"}, "experts": {"permute"}}

SPECIMENS: dict[str, tuple[Specimen, Actions]] = {
    "mixtral": (TransformersSpecimen(tokens, "MixtralForCausalLM", MIXTURE), MIXED),
    "qwen2_moe": (
        TransformersSpecimen(tokens, "Qwen2MoeForCausalLM", QWEN),
        MIXED | {"hidden": {"shuffle scale sign", "permute scale sign"}},
    ),
    "qwen3_moe": (
        TransformersSpecimen(tokens, "Qwen3MoeForCausalLM", QWEN),
        MIXED | {"queries": {"normalised"}, "keys": {"normalised"}, "pairs": {"scale sign"}},
    ),
    "bart": (TransformersSpecimen(translated_tokens, "BartForConditionalGeneration", BART), POST_NORM),
    "mbart": (
        TransformersSpecimen(translated_tokens, "MBartForConditionalGeneration", BART),
        PRE_NORM,
    ),
    "bart classifier": (
        TransformersSpecimen(ended_tokens, "BartForSequenceClassification", BART | {"num_labels": 5}),
        POST_NORM | {"hidden": {"permute", "permute sign"}},
    ),
    "marian": (
        TransformersSpecimen(translated_tokens, "MarianMTModel", BART | {"decoder_vocab_size": 50}),
        without_stream(POST_NORM),
    ),
    "pegasus": (
        TransformersSpecimen(translated_tokens, "PegasusForConditionalGeneration", BART),
        without_stream(PRE_NORM),
    ),
    "m2m_100": (
        TransformersSpecimen(translated_tokens, "M2M100ForConditionalGeneration", BART),
        without_stream(PRE_NORM) | {"hidden": {"permute scale"}},
    ),
    "opt": (TransformersSpecimen(tokens, "OPTForCausalLM", OPT), PRE_NORM | {"hidden": {"permute scale"}}),
    "opt of 350M": (
        TransformersSpecimen(
            tokens, "OPTForCausalLM", OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}
        ),
        POST_NORM | {"hidden": {"permute scale"}, "words": {"permute"}},
    ),
    "olmo": (
        TransformersSpecimen(tokens, "OlmoForCausalLM", GROUPED),
        {role: own for role, own in ROTARY.items() if role != "norm"} | {"stream": {"permute"}},
    ),
    "phi3": (TransformersSpecimen(tokens, "Phi3ForCausalLM", GROUPED), ROTARY),
    "phi3 partly rotary": (
        TransformersSpecimen(
            tokens,
            "Phi3ForCausalLM",
            GROUPED
            | {
                "head_dim": 8,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75},
            },
        ),
        ROTARY,
    ),
    "gpt_oss": (
        TransformersSpecimen(
            tokens,
            "GptOssForCausalLM",
            MIXTURE | {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
        ),
        MIXED | {"hidden": {"shuffle"}, "values": {"mix"}},
    ),
}


ROUTED = ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss")
"""The library chooses among experts in single precision."""
IN_SINGLE = 1e-4


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_common_family_is_wired_and_computes_the_same(name: str, tmp_path: Path) -> None:
    specimen, actions = SPECIMENS[name]
    saved = Saved.build(specimen, tmp_path / "original")
    assert (saved.wiring.method, saved.wiring.assumes) == ("family", ())
    assert actions_on(saved.wiring) == actions
    check_places(saved)
    found = movements(saved.function(tmp_path / "acted"), saved.wiring, saved.tensors)
    assert found.keys() >= {"permutation", "all"}
    assert max(found.values()) <= (IN_SINGLE if name in ROUTED else TOLERANCE[torch.float64]), found
    check_left_out(saved, saved.acted(saved.element(ALL), tmp_path / "all"))


@pytest.mark.parametrize("model", ["BartForCausalLM", "MBartForCausalLM"])
def test_a_decoder_whose_encoder_is_elsewhere_is_not_wired_as_both(model: str, tmp_path: Path) -> None:
    saved = Saved.build(TransformersSpecimen(tokens, model, BART), tmp_path / "original")
    keys = next(each for each in saved.wiring.layers if each.layer.name.endswith("encoder_attn.k_proj"))
    assert keys.into
    assert not saved.wiring.groups[keys.into.group].actions
    embedded = next(each for each in saved.wiring.layers if each.layer.name.endswith("embed_tokens"))
    assert embedded.out.group != keys.into.group
