"""Decoders: each norm is read by linear layers alone, or by the tied embedding of the words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from peace_pipeline.symmetry.wiring.builder import WiringBuilder, activation
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    embedded,
    heads_of,
    is_language_model,
    pre_normed,
    residual,
    unembedded,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import ORTHOGONAL, SIGN
from peace_pipeline.symmetry.wiring.types import Axis, WiringMismatch

_HEADS = ("lm_head", "embed_out", "score", "classifier", "qa_outputs")
_GPT2 = Block(("attn.q", "attn.k", "attn.v", "attn.c_proj"), "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")
_GPT_NEOX = Block(
    ("attention.q", "attention.k", "attention.v", "attention.dense"),
    "input_layernorm",
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
    "post_attention_layernorm",
)
_LLAMA = Block(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    "input_layernorm",
    "mlp.up_proj",
    "mlp.down_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
)
_GEMMA2 = Block(
    _LLAMA.attention, _LLAMA.attention_norm, _LLAMA.up, _LLAMA.down, "pre_feedforward_layernorm", _LLAMA.gate
)


@family("gpt2")
def gpt2(net: WiringBuilder) -> None:
    """GPT-2 (Radford et al. 2019)."""
    at, stream, heads = _begun(net, "h.0")
    embedded(net, at, stream, "wte", "wpe")
    for block in net.numbered(f"{at}h."):
        pre_normed(net, _GPT2.under(block), stream, net.number("n_head"), activation(net.config))
    unembedded(net, stream, f"{at}ln_f", heads)


@family("gpt_neox")
def gpt_neox(net: WiringBuilder) -> None:
    """GPT-NeoX and Pythia (Black et al. 2022): rotary positions turn a part of each head."""
    at, stream, heads = _begun(net, "layers.0")
    embedded(net, at, stream, "embed_in")
    count = net.number("num_attention_heads")
    for layer in net.numbered(f"{at}layers."):
        block = _GPT_NEOX.under(layer)
        width = net.rows(block.attention[0]) // count
        rotary = 2 * math.ceil(int(width * _turned_share(net)) / 2)
        pre_normed(net, block, stream, count, activation(net.config), rotary=rotary)
    unembedded(net, stream, f"{at}final_layer_norm", heads)


@family("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
def llama(net: WiringBuilder) -> None:
    """Decoders with RMSNorm, rotary positions, grouped queries and gated units (Touvron et al. 2023).

    Qwen3 and Gemma 3 also normalise queries and keys; Gemma 2 and 3 what a block adds to the stream.
    """
    at, stream, heads = _begun(net, "layers.0", SIGN, ORTHOGONAL)
    embedded(net, at, stream, "embed_tokens")
    count, keys = net.number("num_attention_heads"), net.number("num_key_value_heads", "num_attention_heads")
    for layer in net.numbered(f"{at}layers."):
        adds_normed = f"{layer}.pre_feedforward_layernorm" in net
        block = (_GEMMA2 if adds_normed else _LLAMA).under(layer)
        q_norm, k_norm = f"{layer}.self_attn.q_norm", f"{layer}.self_attn.k_norm"
        rotary = net.rows(block.attention[0]) // count
        norms = (q_norm, k_norm) if q_norm in net else None
        pre_normed(net, block, stream, count, activation(net.config), keys=keys, rotary=rotary, norms=norms)
        for norm in ("post_attention_layernorm", "post_feedforward_layernorm") if adds_normed else ():
            net.vector(f"{layer}.{norm}", Axis(stream, charge=0))
    unembedded(net, stream, f"{at}norm", heads)


def _begun(net: WiringBuilder, first: str, *actions: str) -> tuple[str, str, list[str]]:
    """What stands before names, the stream, and the heads that are not tied."""
    at = net.prefix(first)
    if not net.numbered(f"{at}{first[:-1]}"):
        raise WiringMismatch("no layers")
    heads = heads_of(net, *_HEADS)
    return at, residual(net, "stream", bool(heads) or is_language_model(net), *actions), heads


def _turned_share(net: WiringBuilder) -> float:
    """The part of each head that rotary positions turn in a GPT-NeoX."""
    parameters = net.config.get("rope_parameters")
    places = [parameters, net.config] if isinstance(parameters, Mapping) else [net.config]
    found = (place.get(key) for place in places for key in ("partial_rotary_factor", "rotary_pct"))
    return next((value for value in found if isinstance(value, float | int) and 0 <= value <= 1), 0.25)
