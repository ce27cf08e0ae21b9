"""Networks that no table has, and their claims."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    GAIN,
    LINEAR,
    MIX,
    PERMUTE,
    ROTATE,
    SCALE,
    SHIFT,
    SHUFFLE,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import Wiring
from tests.specimens import Specimen
from tests.specimens.plain import LABELS
from tests.specimens.pretrained import DECODER, ENCODER, TOKENS, VISION, images, tokens, typed_tokens
from tests.specimens.specimen import Config, TransformersSpecimen


class Fire(nn.Module):
    """Two kernels side by side, joined (Iandola et al. 2016; Szegedy et al. 2015)."""

    def __init__(self, into: int, squeezed: int, *widths: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(into, squeezed, 1)
        sizes = zip(widths, (1, 3, 5), strict=False)
        self.branches = nn.ModuleList(nn.Conv2d(squeezed, width, k, padding=k // 2) for width, k in sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(branch(x)) for branch in self.branches], 1)


def squeezenet() -> nn.Module:
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    last = nn.Conv2d(11, LABELS, 1)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), Fire(6, 4, 5, 7), nn.MaxPool2d(2),
                         Fire(12, 3, 4, 5, 2), last, *pooled)  # fmt: skip


def flattened() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 7),
        nn.BatchNorm1d(7), nn.Sigmoid(), nn.Linear(7, 6), nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, LABELS),
    )  # fmt: skip


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Linear(3, 8), layer, nn.LayerNorm(8), nn.Linear(8, LABELS))


def of_library(feed: Any, model: str, config: Config) -> Specimen:
    return TransformersSpecimen(feed, model, config)


GROUPED = dict.fromkeys(("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups"), 2)

STAGES = {"hidden_sizes": [6, 10], "depths": [2, 1], "num_encoder_blocks": 2, "patch_sizes": [7, 3], "strides": [4, 2],
          "padding": [2, 1], "num_labels": 5, "mlp_ratio": 2.0}  # fmt: skip

LIBRARY: dict[str, Specimen] = {
    "regnet": of_library(images(32), "RegNetForImageClassification", {
        "embedding_size": 6, "hidden_sizes": [8, 12], "depths": [2, 1], "groups_width": 4, "num_labels": 5,
    }),
    "mobilenet_v1": of_library(images(32), "MobileNetV1ForImageClassification", {
        "depth_multiplier": 0.25, "min_depth": 4, "num_labels": 5,
    }),
    "poolformer": of_library(images(32), "PoolFormerForImageClassification", STAGES),
    "convnextv2": of_library(images(32), "ConvNextV2ForImageClassification", {
        "hidden_sizes": [6, 10], "depths": [2, 1], "num_stages": 2, "num_labels": 5, "image_size": 32,
    }),
    "squeezebert": of_library(typed_tokens, "SqueezeBertForSequenceClassification", ENCODER | GROUPED | {
        "embedding_size": 24, "post_attention_groups": 1,
    }),
    "fnet": of_library(tokens, "FNetForSequenceClassification", ENCODER),
    "dinov2": of_library(images(12), "Dinov2ForImageClassification", VISION),
    "bloom": of_library(tokens, "BloomForCausalLM", TOKENS | {"hidden_size": 24, "n_layer": 2, "n_head": 4}),
    "stablelm": of_library(tokens, "StableLmForCausalLM", DECODER | {"num_key_value_heads": 2}),
    "glm": of_library(tokens, "GlmForCausalLM", DECODER | {"num_key_value_heads": 2, "head_dim": 8}),
    "olmoe": of_library(tokens, "OlmoeForCausalLM", DECODER | {"num_experts": 3, "num_experts_per_tok": 2}),
    "deepseek": of_library(tokens, "DeepseekV3ForCausalLM", DECODER | {
        "q_lora_rank": 12, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 14, "first_k_dense_replace": 1,
        "n_group": 2, "topk_group": 1, "num_key_value_heads": 4,
    }),
    "nomic_bert": of_library(typed_tokens, "NomicBertForMaskedLM", ENCODER),
    "phi": of_library(tokens, "PhiForCausalLM", DECODER | {
        "hidden_size": 32, "num_key_value_heads": 2, "partial_rotary_factor": 0.5,
    }),
}  # fmt: skip

CLAIMS = {
    "squeezenet": {PERMUTE, SCALE},
    "gated": {PERMUTE, SCALE, GAIN},
    "unet": {PERMUTE, SCALE, SIGN},
    "mixer": {PERMUTE, SCALE, SIGN, GAIN, SHIFT},
    "flattened": {PERMUTE, SCALE, SIGN, LINEAR, FLIP, GAIN, SHIFT},
    "transformer": {PERMUTE, SCALE, GAIN, SHIFT, MIX},
    "regnet": {PERMUTE, SCALE, GAIN},
    "mobilenet_v1": {PERMUTE, GAIN},
    "poolformer": {PERMUTE, SCALE, SIGN, GAIN, SHIFT},
    "convnextv2": {PERMUTE, GAIN, SHIFT},
    "squeezebert": {PERMUTE, SIGN},
    "fnet": {PERMUTE, SIGN, GAIN, SHIFT},
    "dinov2": {PERMUTE, MIX, FREE, SHIFT},
    "bloom": {PERMUTE, GAIN, SHIFT, MIX, FREE},
    "stablelm": {PERMUTE, SCALE, SIGN, GAIN, MIX},
    "glm": {PERMUTE, SCALE, SIGN, GAIN, MIX},
    "olmoe": {PERMUTE, SCALE, SIGN, GAIN, MIX, SHUFFLE},
    "deepseek": {PERMUTE, SCALE, SIGN, GAIN, SHUFFLE},
    "nomic_bert": {PERMUTE, SCALE, SIGN, GAIN, SHIFT, MIX, ROTATE},
    "phi": {PERMUTE, GAIN, SHIFT, MIX, ROTATE},
}


def claims(wiring: Wiring) -> set[str]:
    return {action for group in wiring.groups.values() for action in group.actions}
