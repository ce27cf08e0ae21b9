"""Small configurations of transformers' models: the default one with every width, depth and vocabulary cut down."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Config = dict[str, Any]
WIDTH, HEADS, HEAD, INNER, LAYERS, VOCABULARY, SIDE, PATCH = 32, 4, 8, 48, 2, 99, 32, 8
FIRST_SPECIAL = 60
"""Ids of special tokens that don't fit into the small vocabulary get these; other tokens are below."""
_WIDTHS = (
    r"(hidden_size|d_model|n_embd|embed_dim|dim|hidden_dim|embedding_size|embedding_dim|emb_dim|decoder_hidden_size"
    r"|encoder_hidden_size|projection_size|out_hidden_size|text_hidden_size|projection_dim|text_embed_dim|output_dim|lm_hidden_size"
    r"|fusion_hidden_size|fpn_hidden_size|word_embed_proj_dim|attention_hidden_size|qformer_hidden_size|encoder_hidden_dim"
    r"|encoder_dim|decoder_dim|d_embed|conv_dim|codebook_dim|hidden_channels|feature_size|mask_feature_size|num_filters"
    r"|.*_(hidden_size|hidden_dim|embed_dim|d_model|projection_dim|proj_dim|embedding_size|output_dim))"
)
_RULES: tuple[tuple[str, Callable[[int], int]], ...] = (
    (r"num_feat_extract_layers|max_2d_position_embeddings", lambda v: v),
    (r"rotary_dim", lambda v: min(v, HEAD // 2)),
    (r"type_vocab_size|.*_per_(tok|token|layer)", lambda v: min(v, 2)),
    (r"max_.*position.*|n_positions|n_ctx|max_(source|target)_positions|context_length|max_seq_len.*|sliding_window",
     lambda v: min(v, 64)),
    (r".*codebook_size|num_embeddings", lambda v: min(v, 32)),
    (r".*vocab_size.*", lambda v: min(v, VOCABULARY)),
    (r"(.*_)?num_groups|.*_groups", lambda v: min(v, 2)),
    (r"num_nextn_predict_layers|num_kv_shared_layers", lambda v: 0),
    (r".*(layers|n_layer|num_layers|_depth|depth|num_blocks)", lambda v: min(v, LAYERS)),
    (r"first_k_dense_replace|n_shared_experts|num_shared_experts", lambda v: min(v, 1)),
    (r"n_group|topk_group", lambda v: 1),
    (r".*(kv|key_value).*heads", lambda v: min(v, 2)),
    (r".*(heads|n_head)", lambda v: min(v, HEADS)),
    (r".*head_dim|d_kv|d_head|.*_head_size|attention_head_dim", lambda v: min(v, HEAD)),
    (r".*(num_experts|n_routed_experts|num_local_experts)", lambda v: min(v, 4)),
    (r".*topk|.*top_k", lambda v: min(v, 2)),
    (r".*lora_rank", lambda v: min(v, 16)),
    (r"(shared_expert|moe)_.*intermediate_size|moe_intermediate_size", lambda v: min(v, 24)),
    (r".*(intermediate_size|intermediate_dim|ffn_dim|d_ff|mlp_dim|n_inner|ffn_hidden_size|dim_feedforward)",
     lambda v: min(v, INNER)),
    (_WIDTHS, lambda v: min(v, WIDTH)),
    (r"d_latents", lambda v: min(v, WIDTH)),
    (r"window_size", lambda v: min(v, 2)),
    (r"attention_window|.*moe_k", lambda v: min(v, 4)),
    (r"image_size|.*_image_size|input_size|resolution", lambda v: min(v, SIDE)),
    (r"patch_size|.*_patch_size|encoder_stride", lambda v: min(v, PATCH)),
    (r"num_queries|num_query_tokens|num_latents|.*num_image_tokens|mm_tokens_per_image", lambda v: min(v, 16)),
    (r"num_conv_pos_embeddings|num_mel_bins|feature_dim", lambda v: min(v, 16)),
    (r"num_position_embeddings", lambda v: 16),
    (r"num_frames", lambda v: min(v, 4)),
)  # fmt: skip
"""Name of a field → its small value, by the first pattern that it matches."""
_LISTS: tuple[tuple[str, Callable[[list[int]], list[int]]], ...] = (
    (r"depths|.*num_blocks|.*_layers|layer_depths|blocks_per_stage|stage_numb_of_layers",
     lambda v: [min(x, 1 + (n == 1)) for n, x in enumerate(v)]),
    (r".*hidden_sizes|embed_dims|.*embed_dim.*|.*_channels|encoder_channels|stage_.*channels|dims|widths|.*dim",
     lambda v: [max(8, round(x / max(1, min(v) / 8) / 8) * 8) if min(v) >= 8 else x for x in v]),
    (r"(num_)?(attention_)?heads|num_attention_heads", lambda v: [min(x, 2**n) for n, x in enumerate(v)]),
    (r"mrope_section", lambda v: [HEAD // 2 - len(v) + 1] + [1] * (len(v) - 1)),
    (r"attention_window", lambda v: [4] * len(v)),
    (r"image_size|.*_image_size|pretrained_img_size", lambda v: [min(x, SIDE) for x in v]),
)  # fmt: skip
_DROPPED = (
    "architectures", "transformers_version", "dtype", "torch_dtype", "label2id", "id2label", "auto_map",
    "_name_or_path", "out_features", "out_indices", "stage_names", "_out_features", "_out_indices",
    "per_layer_config", "layers_block_type", "reshard_after_forward",
)  # fmt: skip

_DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers", "depth")
_MISSING = {
    "head_dim": HEAD,
    "vocab_size": VOCABULARY,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
}
"""Settings that a default config leaves out, but a model needs."""
_RESNET = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
"""In place of a backbone from timm, which need not be installed."""


def small_configs(config_class: Any) -> Iterator[Any]:
    """Small configurations of a class, the smallest first."""
    default = config_class()
    yielded = set()
    for cut in (_everything, _all_but_widths):
        settings = _special_tokens_within(_agreeing(cut(_plain(default.to_dict()))))
        try:
            config = config_class.from_dict(settings)
        except Exception as error:
            yield error
            continue
        if (written := str(config.to_dict())) not in yielded:
            yielded.add(written)
            yield config


def _plain(settings: Config) -> Config:
    """Settings without what names a library's own state."""
    own = {}
    for key, value in settings.items():
        if key in _DROPPED:
            continue
        own[key] = _plain(value) if isinstance(value, dict) else value
        if isinstance(value, dict) and value.get("model_type") in ("timm_backbone", "timm_wrapper"):
            own[key] = dict(_RESNET)
    for key in ("use_timm_backbone", "use_pretrained_backbone", "use_cache"):
        if key in own:
            own[key] = False
    return own


def _everything(settings: Config) -> Config:
    return _cut(settings, lambda key: True)


def _all_but_widths(settings: Config) -> Config:
    kept = re.compile(r".*(layers|n_layer|depth|depths|vocab_size|position.*|num_blocks|num_experts)")
    return _cut(settings, lambda key: kept.fullmatch(key) is not None)


def _agreeing(settings: Config) -> Config:
    """Settings in which what depends on one another agrees again."""
    found = {key: _agreeing(value) if isinstance(value, dict) else value for key, value in settings.items()}
    width = found.get("hidden_size")
    for expand, heads, each in (
        ("expand", "num_heads", "head_dim"),
        ("mamba_expand", "mamba_n_heads", "mamba_d_head"),
    ):
        if {expand, heads, each} <= found.keys() and isinstance(width, int) and found[heads]:
            found[each] = int(found[expand] * width) // found[heads]
    if found.get("pad_token_id") is None and "eos_token_id" in found:
        found["pad_token_id"] = 1
    if "window_size" in found and found.get("image_size") == SIDE and "embed_dim" in found:
        found["image_size"] = 2 * SIDE
    if re.search("vl|glm4v|glm_ocr|glm_image|omni", str(found.get("model_type"))):
        found["rope_parameters"] = {"mrope_section": [2, 1, 1]} | (found.get("rope_parameters") or {})
    if "attention_types" in found:
        found["attention_types"] = [[["global", "local"], 1]]
    if {"mamba_d_ssm", "mamba_expand"} <= found.keys() and isinstance(width, int):
        found["mamba_d_ssm"] = int(found["mamba_expand"] * width)
    if {"qk_nope_head_dim", "qk_rope_head_dim", "qk_head_dim"} <= found.keys():
        found["qk_head_dim"] = (found["qk_nope_head_dim"] or 0) + (found["qk_rope_head_dim"] or 0)
    return found


def _cut(settings: Config, wanted: Callable[[str], bool]) -> Config:
    """Settings with the fields that are wanted cut; lists with one entry a layer have the first and the last."""
    depth = next((v for k in _DEPTHS if isinstance(v := settings.get(k), int) and v), 0)
    is_grouped = settings.get("num_key_value_heads") != settings.get("num_attention_heads")
    found: Config = {}
    for key, value in settings.items():
        if not isinstance(key, str):
            found[key] = value
        elif isinstance(value, dict):
            found[key] = _cut(value, wanted)
        elif (
            isinstance(value, list)
            and len(value) == depth > LAYERS
            and wanted("layers")
            and not _is_of_stages(key, value)
        ):
            found[key] = [value[0], value[-1]]
        elif key == "num_key_value_heads" and value and not is_grouped and wanted(key):
            found[key] = min(value, HEADS)
        elif wanted(key):
            found[key] = _small(key, value)
        else:
            found[key] = value
    return found


def _is_of_stages(key: str, value: list[Any]) -> bool:
    """Whether a list of this name has a number for each stage; stages are kept."""
    return isinstance(value[0], int) and any(re.fullmatch(pattern, key) for pattern, _ in _LISTS)


def _small(key: str, value: Any) -> Any:
    if value is None:
        return _MISSING.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return next((rule(value) for pattern, rule in _RULES if re.fullmatch(pattern, key)), value)
    if (
        isinstance(value, list)
        and value
        and all(isinstance(x, int) and not isinstance(x, bool) for x in value)
    ):
        return next((rule(value) for pattern, rule in _LISTS if re.fullmatch(pattern, key)), value)
    return value


def _special_tokens_within(settings: Config) -> Config:
    """Ids of special tokens within the vocabulary; equal ones stay equal."""
    ids: dict[int, int] = {}

    def within(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: within(k, v) for k, v in value.items()}
        if re.fullmatch(r".*(token_id|token_index)", key):
            if isinstance(value, list):
                return [within(key, x) for x in value]
            if isinstance(value, int) and value >= FIRST_SPECIAL:
                return ids.setdefault(value, FIRST_SPECIAL + len(ids))
        return value

    return within("", settings)
