"""Of the most common model types of the Hub none is refused without a stated reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.specimens.pretrained import tokens
from tests.specimens.running import Saved
from tests.specimens.specimen import TransformersSpecimen

SMALL: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 24, "d_model": 24, "n_embd": 24, "dim": 24, "embedding_size": 12,
    "intermediate_size": 40, "ffn_dim": 40, "d_ff": 40, "hidden_dim": 40, "n_inner": 40, "d_kv": 6, "head_dim": 6,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_decoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2, "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40, "max_position_embeddings": 20, "n_positions": 20, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "decoder_start_token_id": 2, "word_embed_proj_dim": 24, "num_local_experts": 3,
    "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "shared_expert_intermediate_size": 20,
    "image_size": 16, "patch_size": 8, "decoder_vocab_size": 50, "type_vocab_size": 2,
}  # fmt: skip
"""Settings of any class that has them."""

OF_TABLES = (
    "BertForMaskedLM", "RobertaForMaskedLM", "XLMRobertaForMaskedLM", "CamembertForMaskedLM", "DistilBertForMaskedLM",
    "AlbertForMaskedLM", "GPT2LMHeadModel", "GPTNeoXForCausalLM", "LlamaForCausalLM", "MistralForCausalLM",
    "Qwen2ForCausalLM", "Qwen3ForCausalLM", "GemmaForCausalLM", "Gemma2ForCausalLM", "Phi3ForCausalLM",
    "MixtralForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "GptOssForCausalLM", "OlmoForCausalLM",
    "OPTForCausalLM", "T5ForConditionalGeneration", "MT5ForConditionalGeneration", "BartForConditionalGeneration",
    "MBartForConditionalGeneration", "MarianMTModel", "PegasusForConditionalGeneration",
    "M2M100ForConditionalGeneration", "WhisperForConditionalGeneration", "ViTForImageClassification",
    "DeiTForImageClassification", "CLIPTextModel",
)  # fmt: skip
"""Classes whose wiring a table has."""
TRACED = (
    "ElectraForMaskedLM", "MPNetForMaskedLM", "DebertaForMaskedLM", "DebertaV2ForMaskedLM", "BloomForCausalLM",
    "GPTNeoForCausalLM", "GPTJForCausalLM", "FalconForCausalLM", "PhiForCausalLM", "LongformerForMaskedLM",
    "BeitForImageClassification", "Dinov2ForImageClassification", "Wav2Vec2ForCTC", "HubertForCTC", "WavLMForCTC",
    "SiglipVisionModel", "MambaForCausalLM", "DeepseekV3ForCausalLM", "LayoutLMForMaskedLM", "VitsModel",
    "ASTForAudioClassification", "Olmo2ForCausalLM", "StableLmForCausalLM", "ModernBertForMaskedLM",
)  # fmt: skip
"""Classes that are followed as they run, or about which it is said why they are not."""


def saved_as_small(name: str, folder: Path) -> Saved:
    """A class of transformers with what ``SMALL`` says of its settings."""
    import transformers

    kind = getattr(transformers, name)
    known = kind.config_class().to_dict()
    settings = {key: value for key, value in SMALL.items() if key in known}
    return Saved.build(TransformersSpecimen(tokens, name, settings), folder)


@pytest.mark.parametrize("name", OF_TABLES)
def test_a_common_type_has_a_table(name: str, tmp_path: Path) -> None:
    wiring = saved_as_small(name, tmp_path / "saved").wiring
    assert (wiring.method, wiring.assumes) == ("family", ())
    assert any(group.actions for group in wiring.groups.values())


@pytest.mark.sweep
@pytest.mark.parametrize("name", TRACED)
def test_a_common_type_without_a_table_is_followed_or_refused_with_a_reason(
    name: str, tmp_path: Path
) -> None:
    from peace_pipeline.lake import Lake
    from peace_pipeline.symmetry.wiring_report import describe_wiring

    saved = saved_as_small(name, tmp_path / "saved")
    report = describe_wiring(Lake(tmp_path / "lake"), str(saved.folder))
    is_claimed = any(group.actions for group in report.wiring.groups.values())
    assert is_claimed or report.reason.partition(";")[2].strip(), json.dumps(report.as_dict()["groups"])
