"""Specimens whose modules are those of transformers; no two axes of one have the same size by accident."""

from __future__ import annotations

from typing import Any

import torch

from .specimen import BATCH, Feed, Inputs, Specimen, TransformersSpecimen, draw

VOCABULARY, LENGTH = 50, 7


def images(side: int) -> Feed:
    """What draws square images of three channels."""

    def feed(generator: torch.Generator) -> Inputs:
        return {"pixel_values": draw(generator, 3, side, side)}

    return feed


def tokens(generator: torch.Generator) -> Inputs:
    """Token ids."""
    return {"input_ids": _ids(generator, LENGTH)}


def padded_tokens(generator: torch.Generator) -> Inputs:
    """Token ids, the last two of the first row masked."""
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[0, -2:] = 0
    return {"input_ids": _ids(generator, LENGTH), "attention_mask": mask}


def typed_tokens(generator: torch.Generator) -> Inputs:
    """Token ids with a mask, in two segments."""
    types = torch.zeros(BATCH, LENGTH, dtype=torch.long)
    types[:, 3:] = 1
    return padded_tokens(generator) | {"token_type_ids": types}


def translated_tokens(generator: torch.Generator) -> Inputs:
    """Token ids with a mask for an encoder, and shorter ones for its decoder."""
    return padded_tokens(generator) | {"decoder_input_ids": _ids(generator, LENGTH - 2)}


def captioned_images(generator: torch.Generator) -> Inputs:
    """Images and texts; a text ends with the token whose state CLIP reads."""
    ids = _ids(generator, LENGTH)
    ids[:, -1] = VOCABULARY - 1
    return images(12)(generator) | {"input_ids": ids}


def transcribed_sounds(generator: torch.Generator) -> Inputs:
    """Spectrograms of 10 bands and 24 frames, and token ids."""
    return {"input_features": draw(generator, 10, 24), "decoder_input_ids": _ids(generator, LENGTH)}


def _ids(generator: torch.Generator, length: int) -> torch.Tensor:
    return torch.randint(3, VOCABULARY - 1, (BATCH, length), generator=generator)


TOKENS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
ENCODER = TOKENS | {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 18, "type_vocab_size": 2, "num_labels": 5,
}  # fmt: skip
DISTILBERT = TOKENS | {
    "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40, "max_position_embeddings": 18, "num_labels": 5,
}  # fmt: skip
ALBERT = ENCODER | {"embedding_size": 10, "num_hidden_layers": 3, "inner_group_num": 1}
DECODER = TOKENS | {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 18, "use_cache": False, "tie_word_embeddings": False,
}  # fmt: skip
GROUPED = DECODER | {"num_key_value_heads": 2}
VISION = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "image_size": 12, "patch_size": 4, "num_labels": 5,
}  # fmt: skip
T5 = TOKENS | {
    "d_model": 24, "d_kv": 7, "num_heads": 4, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 2,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "use_cache": False,
    "decoder_start_token_id": 1,
}  # fmt: skip
T5_GATED = T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
WHISPER = TOKENS | {
    "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 36, "num_mel_bins": 10,
    "max_source_positions": 12, "max_target_positions": 18, "decoder_start_token_id": 1, "use_cache": False,
    "begin_suppress_tokens": None,
}  # fmt: skip
CLIP = {
    "projection_dim": 14,
    "text_config": {
        "vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 40, "max_position_embeddings": 18, "projection_dim": 14, "bos_token_id": 0,
        "eos_token_id": VOCABULARY - 1, "pad_token_id": 1,
    },
    "vision_config": {
        "hidden_size": 30, "num_hidden_layers": 2, "num_attention_heads": 5, "intermediate_size": 44,
        "image_size": 12, "patch_size": 4, "projection_dim": 14,
    },
}  # fmt: skip
RESNET = {"embedding_size": 6, "num_labels": 5}
STATES = ("last_hidden_state",)

PRETRAINED: dict[str, Specimen] = {
    "resnet_basic_hf": TransformersSpecimen(
        images(24), "ResNetForImageClassification",
        RESNET | {"layer_type": "basic", "hidden_sizes": [6, 11], "depths": [1, 2]},
    ),
    "resnet_bottleneck_hf": TransformersSpecimen(
        images(24), "ResNetForImageClassification",
        RESNET | {"layer_type": "bottleneck", "hidden_sizes": [12, 20], "depths": [2, 1]},
    ),
    "mobilenet_v2_hf": TransformersSpecimen(
        images(32), "MobileNetV2ForImageClassification",
        {"depth_multiplier": 0.1, "depth_divisible_by": 1, "min_depth": 3, "finegrained_output": False,
         "num_labels": 5},
    ),
    "efficientnet_hf": TransformersSpecimen(
        images(16), "EfficientNetForImageClassification",
        {"image_size": 16, "width_coefficient": 0.25, "depth_coefficient": 1.0, "depth_divisor": 1,
         "hidden_dim": 320, "in_channels": [32, 20, 28], "out_channels": [20, 28, 36],
         "kernel_sizes": [3, 5, 3], "strides": [1, 2, 1], "num_block_repeats": [1, 2, 1],
         "expand_ratios": [1, 3, 4], "depthwise_padding": [], "num_labels": 5},
    ),
    "convnext_hf": TransformersSpecimen(
        images(16), "ConvNextForImageClassification",
        {"hidden_sizes": [6, 10], "depths": [2, 1], "num_stages": 2, "num_labels": 5, "image_size": 16},
    ),
    "vit_hf": TransformersSpecimen(images(12), "ViTForImageClassification", VISION),
    "deit_hf": TransformersSpecimen(
        images(12), "DeiTForImageClassificationWithTeacher", VISION,
        ("logits", "cls_logits", "distillation_logits"),
    ),
    "swin_hf": TransformersSpecimen(
        images(16), "SwinForImageClassification",
        {"image_size": 16, "patch_size": 2, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3],
         "window_size": 2, "mlp_ratio": 1.5, "num_labels": 5},
    ),
    "clip": TransformersSpecimen(
        captioned_images, "CLIPModel", CLIP,
        ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"),
    ),
    "bert": TransformersSpecimen(typed_tokens, "BertModel", ENCODER, (*STATES, "pooler_output")),
    "bert_classifier": TransformersSpecimen(typed_tokens, "BertForSequenceClassification", ENCODER),
    "bert_mlm": TransformersSpecimen(typed_tokens, "BertForMaskedLM", ENCODER),
    "roberta_classifier": TransformersSpecimen(padded_tokens, "RobertaForSequenceClassification", ENCODER),
    "roberta_mlm": TransformersSpecimen(padded_tokens, "RobertaForMaskedLM", ENCODER),
    "distilbert_classifier": TransformersSpecimen(
        padded_tokens, "DistilBertForSequenceClassification", DISTILBERT
    ),
    "distilbert_mlm": TransformersSpecimen(padded_tokens, "DistilBertForMaskedLM", DISTILBERT),
    "albert": TransformersSpecimen(typed_tokens, "AlbertModel", ALBERT, (*STATES, "pooler_output")),
    "albert_mlm": TransformersSpecimen(typed_tokens, "AlbertForMaskedLM", ALBERT),
    "gpt2": TransformersSpecimen(
        tokens, "GPT2LMHeadModel",
        TOKENS | {"n_embd": 24, "n_head": 4, "n_layer": 2, "n_inner": 40, "n_positions": 18,
                  "use_cache": False},
    ),
    "gpt_neox": TransformersSpecimen(
        tokens, "GPTNeoXForCausalLM", DECODER | {"hidden_size": 32, "rotary_pct": 0.25},
    ),
    "llama": TransformersSpecimen(tokens, "LlamaForCausalLM", GROUPED),
    "llama_tied": TransformersSpecimen(
        tokens, "LlamaForCausalLM", GROUPED | {"tie_word_embeddings": True}
    ),
    "mistral": TransformersSpecimen(tokens, "MistralForCausalLM", GROUPED | {"sliding_window": 4}),
    "qwen2": TransformersSpecimen(tokens, "Qwen2ForCausalLM", GROUPED),
    "qwen3": TransformersSpecimen(tokens, "Qwen3ForCausalLM", GROUPED | {"head_dim": 8}),
    "gemma": TransformersSpecimen(
        tokens, "GemmaForCausalLM", GROUPED | {"head_dim": 8, "tie_word_embeddings": True}
    ),
    "t5": TransformersSpecimen(translated_tokens, "T5ForConditionalGeneration", T5),
    "t5_gated": TransformersSpecimen(translated_tokens, "T5ForConditionalGeneration", T5_GATED),
    "t5_encoder": TransformersSpecimen(padded_tokens, "T5EncoderModel", T5, STATES),
    "whisper": TransformersSpecimen(transcribed_sounds, "WhisperForConditionalGeneration", WHISPER),
}  # fmt: skip
