"""Names of tensors: which are no parameters, which stand for a layer's weight or bias, which are there twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Views

_BUFFERS = re.compile(
    r"""(?:.*\.)?(?:
    (?:\w+_)?inv_freq | (?:cos|sin)_cached | freqs_(?:cis|cos|sin) | rope_freqs\.weight | rope\.freqs
    | position_ids | token_type_ids | relative_position_index | relative_coords_table
    | masked_bias | attn_mask | causal_mask
    | num_batches_tracked | n_averaged | total_ops | total_params | _extra_state | _float_tensor
    | (?:input|output|k|v|q)_scale
    | betas | (?:alphas|sqrt_alphas|(?:sqrt|log|sqrt_recip|sqrt_recipm1)?_?(?:one_minus_)?alphas)_cumprod(?:_prev)?
    | posterior_(?:variance|log_variance_clipped|mean_coef[12]) | lvlb_weights
    )""",
    re.VERBOSE,
)
"""Tensors that a module keeps beside its parameters: tables of angles, positions, masks, counters, noise levels."""

_RESPELLED = (
    (re.compile(r"^base_model\.model\."), ""),
    (re.compile(r"\.(lora_\w+)\.default(?=\.|$)"), r".\1"),
    (re.compile(r"\.(?:base_layer|modules_to_save\.default)\."), "."),
    (re.compile(r"\bin_proj_(weight|bias)$"), r"qkv.\1"),
    (re.compile(r"\b([qkv])_proj_weight$"), r"\1.weight"),
    (re.compile(r"\b([qkv])_bias$"), r"\1.bias"),
    (re.compile(r"\b(weight|bias)_((?:ih|hh|hr)(?:_l\d+)?(?:_reverse)?)$"), r"\2.\1"),
)
"""Spellings of PEFT, nn.MultiheadAttention, BEiT, nn.LSTM and its kin, as ``layer.weight`` and ``layer.bias``."""

_RESPELT = re.compile(
    r"^base_model\.|\.default|\.base_layer\.|\bin_proj_|\b[qkv]_(?:proj_weight|bias)$|\b(?:weight|bias)_(?:ih|hh|hr)"
)

_EMBEDDINGS = frozenset(
    (
        "embed_tokens",
        "wte",
        "word_embeddings",
        "embed_in",
        "tok_embeddings",
        "token_embd",
        "embeddings",
        "shared",
    )
)
_TIED = dict.fromkeys(
    ("lm_head", "embed_out", "decoder", "output", "vocab_projector", "generator_lm_head", "lm_loss"),
    _EMBEDDINGS,
) | {"embed_tokens": frozenset({"shared"})}
"""Module that may repeat the input embedding → the embeddings that it would repeat."""


def parameters(views: Views) -> Views:
    """The views that are no buffers."""
    return {name: view for name, view in views.items() if not _is_buffer(name, view.info)}


def _is_buffer(name: str, info: TensorInfo) -> bool:
    if len(info.shape) == 4 and info.shape[:2] == (1, 1) and info.shape[2] == info.shape[3]:
        return name.endswith("attn.bias")  # GPT-2's causal mask
    return _BUFFERS.fullmatch(name) is not None


def respelled(views: Views) -> Views:
    """Views under the names that one layer's tensors have in PyTorch, ``layer.weight`` and ``layer.bias``."""
    result: Views = {}
    for name, view in views.items():
        logical = name
        for pattern, spelling in _RESPELLED if _RESPELT.search(name) else ():
            logical = pattern.sub(spelling, logical)
        taken = logical != name and (logical in views or logical in result)
        result[name if taken else logical] = view
    return result


def untied(views: Views, config: Mapping[str, Any]) -> Views:
    """Views without copies of the input embedding, where the config says that there are some."""
    if config.get("tie_word_embeddings") is not True:
        return views
    stored = {(_module(name), view.info.shape) for name, view in views.items()}
    return {
        name: view
        for name, view in views.items()
        if not any((module, view.info.shape) in stored for module in _TIED.get(_module(name), ()))
    }


def _module(name: str) -> str:
    """``model.lm_head.weight`` → ``lm_head``; nothing for other tensors than weights."""
    return name.removesuffix(".weight").rpartition(".")[2] if name.endswith(".weight") else ""
