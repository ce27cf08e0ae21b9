"""Names of tensors: which are no parameters, which stand for a layer's weight or bias, which are there twice."""

from __future__ import annotations

import re
from bisect import bisect
from collections import defaultdict
from collections.abc import Sequence

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical.spellings import spelled
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Views, transposed
from peace_pipeline.weights.wrapper_names import averages, is_flat, unwrapped

_BUFFERS = re.compile(
    r"""
    (?:original_)?inv_freq | (?:cos|sin)_cached | freqs_(?:cis|cos|sin) | rope_freqs
    | position_ids | token_type_ids | relative_position_index | relative_coords_table
    | masked_bias | attn_mask | causal_mask
    | num_batches_tracked | n_averaged | total_ops | total_params | _extra_state | _float_tensor
    | (?:input|output)_scale | (?:input|output)_(?:global_scale|zero_point) | (?:scale_input|input_scale_ub|scaled_fp8)
    | betas | (?:\w+_)?alphas_cumprod(?:_prev)? | lvlb_weights
    | posterior_(?:variance | log_variance_clipped | mean_coef[12])
    """,
    re.VERBOSE,
)
"""Tensors that a module keeps beside its parameters: tables of angles, positions, masks, counters, noise levels."""

_VECTORS = re.compile(
    r"(?:pixel_|image_|img_|input_)?(?:mean|std) | (?:\w+_)?window | (?:log_)?sigmas | (?:p2_)?loss_weights?",
    re.VERBOSE,
)
"""Of one axis that is longer than 1: statistics by which inputs are normalised, windows, schedules of noise."""

_OF_LOSSES = re.compile(r"(?:.*\.)?(?:criterion|loss(?:_fn|_func|_function)?|metrics?)\.(?:pos_)?weight")
"""Weights of classes in a loss, of one axis."""

_SCALES_OF_CACHES = ("q_scale", "k_scale", "v_scale", "prob_scale", "prob_output_scale")
"""Of a cache of 8 bits, where they are single numbers."""

_OF_ADAPTERS = (
    (re.compile(r"^base_model\.model\."), ""),
    (re.compile(r"\.(lora_\w+)\.default(?=\.|$)"), r".\1"),
    (re.compile(r"\.(?:base_layer|modules_to_save\.default)\."), "."),
)
"""Spellings of PEFT → those of the model itself."""

_OF_MLX = re.compile(r"(?P<module>.*)\.lora_(?P<part>[ab])")
"""MLX's pairs, whose matrices are (in, out)."""

_OF_MODULES = (
    (re.compile(r"\bin_proj_(weight|bias)$"), r"qkv.\1"),
    (re.compile(r"\b([qkv])_proj_weight$"), r"\1.weight"),
    (re.compile(r"\b([qkv])_bias$"), r"\1.bias"),
    (re.compile(r"\b(weight|bias)_((?:ih|hh|hr)(?:_l\d+)?(?:_reverse)?)$"), r"\2.\1"),
)
"""Spellings of nn.MultiheadAttention, BEiT, nn.LSTM and its kin → ``layer.weight`` and ``layer.bias``."""

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
    (
        "lm_head",
        "embed_out",
        "decoder",
        "output",
        "vocab_projector",
        "generator_lm_head",
        "lm_loss",
        "proj_out",
    ),
    _EMBEDDINGS,
) | {"embed_tokens": frozenset({"shared"})}
"""Module that may repeat the input embedding → the embeddings that it would repeat."""


def bare(views: Views, *, with_buffers: bool = False) -> Views:
    """The views that are no averages of others, and no buffers, under names without those of wrappers.

    Raises:
        UnsupportedFormat: where there are FSDP's flat parameters.
    """
    flat = next(filter(is_flat, views), None)
    if flat is not None:
        raise UnsupportedFormat(f"tensor {flat!r}: a flat parameter of FSDP, which holds many tensors in one")
    copies = averages_of([view.info for view in views.values()])
    return {
        name: view
        for name, view in zip(unwrapped(list(views)), views.values(), strict=True)
        if view.info.name not in copies and (with_buffers or not is_buffer(name, view.info))
    }


def averages_of(tensors: Sequence[TensorInfo]) -> set[str]:
    """Names of those that are averages over training of others, by names and shapes."""
    shapes = {
        name: info.shape
        for name, info in zip(unwrapped([info.name for info in tensors]), tensors, strict=True)
    }
    copies = averages([*shapes])
    own = {shape for name, shape in shapes.items() if name not in copies}
    if not {shapes[name] for name in copies if shapes[name]} <= own:
        return set()
    return {info.name for name, info in zip(shapes, tensors, strict=True) if name in copies}


def is_buffer(name: str, info: TensorInfo) -> bool:
    """Whether a tensor is one that a module keeps beside its parameters, by its name and shape."""
    shape, own = info.shape, name.rpartition(".")[2]
    last = name.removesuffix(".weight").rpartition(".")[2]
    if info.size == 1 and own in _SCALES_OF_CACHES:
        return True
    if _VECTORS.fullmatch(own) and shape and info.size == max(shape):
        return True
    if len(shape) <= 1 and _OF_LOSSES.fullmatch(name):
        return True
    is_square = len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    if is_square and name.endswith(("attn.bias", "attention.bias")):
        return True  # causal masks of GPT-2, GPT-Neo, GPT-NeoX
    return _BUFFERS.fullmatch(last) is not None


def respelled(views: Views) -> Views:
    """Views under the names that the tables of families know, ``layer.weight`` and ``layer.bias``."""
    views = dict(zip(spelled(list(views)), views.values(), strict=True))
    result: Views = {}
    for name, view in views.items():
        logical = _respelled(name)
        if len(view.info.shape) == 2 and (match := _OF_MLX.fullmatch(name)):
            logical, view = f"{match['module']}.lora_{match['part'].upper()}.weight", transposed(view)
        taken = logical != name and (logical in views or logical in result)
        result[name if taken else logical] = view
    return result


def _respelled(name: str) -> str:
    if "base_" in name or ".default" in name:
        for pattern, spelling in _OF_ADAPTERS:
            name = pattern.sub(spelling, name)
    if not name.endswith((".weight", ".bias")):
        for pattern, spelling in _OF_MODULES:
            name = pattern.sub(spelling, name)
    return name


def tied(views: Views) -> dict[str, str]:
    """Names of what may be copies of the input embedding, by names and shapes → names of what they would repeat.

    Of several embeddings that fit it is the one whose name begins most like the copy's.
    """
    embeddings = defaultdict(list)
    for name in sorted(views):
        if (module := _module(name)) in _EMBEDDINGS:
            embeddings[module, views[name].info.shape].append(name)
    copies = {}
    for name, view in views.items():
        fitting = [embeddings.get((module, view.info.shape), []) for module in _TIED.get(_module(name), ())]
        nearest = [other for sorted_names in fitting for other in _neighbours(name, sorted_names)]
        if nearest:
            copies[name] = max(sorted(nearest), key=lambda other: _in_common(name, other))
    return {name: copies.get(embedding, embedding) for name, embedding in copies.items()}


def may_be_tied(name: str) -> bool:
    """Whether a tensor's name is that of an input embedding or of a module that may repeat it."""
    return _module(name) in _EMBEDDINGS or _module(name) in _TIED


def _in_common(first: str, second: str) -> int:
    """Number of characters with which both begin."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _neighbours(name: str, sorted_names: list[str]) -> list[str]:
    """Those between which a name would stand: no other has more in common with it."""
    place = bisect(sorted_names, name)
    return sorted_names[max(place - 1, 0) : place + 1]


def _module(name: str) -> str:
    """``model.lm_head.weight`` → ``lm_head``; nothing for other tensors than weights."""
    return name.removesuffix(".weight").rpartition(".")[2] if name.endswith(".weight") else ""
