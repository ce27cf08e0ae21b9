"""BART and its kin: encoders and decoders with norms after each part or before it; OPT, which is a decoder alone."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    embedded,
    heads_of,
    is_language_model,
    outputs,
    post_normed,
    pre_normed,
    residual,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.symmetry.wiring.types import Axis, WiringMismatch
from peace_pipeline.weights.conventions.bart import BART, OPT, SINUSOIDAL

_BLOCK = Block(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "self_attn_layer_norm",
    "fc1",
    "fc2",
    "final_layer_norm",
)
_CROSS = ("q_proj", "k_proj", "v_proj", "out_proj")


@family(BART)
def bart(net: WiringBuilder) -> None:
    """BART (Lewis et al. 2020), mBART and Blenderbot: positions are learned."""
    _both(net, has_places=False)


@family(SINUSOIDAL)
def marian(net: WiringBuilder) -> None:
    """Marian (Junczys-Dowmunt et al. 2018), PEGASUS and M2M-100: positions are sines, which no file has to have; what
    they are added to has its places by them."""
    _both(net, has_places=True)


def _both(net: WiringBuilder, *, has_places: bool) -> None:
    """One embedding serves encoder and decoder, so they have one stream. A last norm tells that norms stand before.

    Raises:
        WiringMismatch: where one of the two is missing: what a decoder alone reads has its places elsewhere.
    """
    at = net.prefix("encoder.layers.0")
    for part in ("encoder", "decoder"):
        if not net.numbered(f"{at}{part}.layers."):
            raise WiringMismatch(f"no {part}")
    heads = heads_of(net, "lm_head", "classification_head.dense", "qa_outputs")
    is_inner = bool(heads) or is_language_model(net)
    stream = residual(net, "stream", is_inner and not has_places)
    for table in ("shared", "encoder.embed_tokens", "decoder.embed_tokens"):
        if f"{at}{table}" in net:
            embedded(net, at, stream, table)
    memory = _stack(net, f"{at}encoder", stream, is_inner)
    last = _stack(net, f"{at}decoder", stream, bool(heads), memory)
    if "classification_head.dense" in net:
        net.dense("classification_head.dense", net.hidden("classification_head.hidden", "tanh"), last)
        outputs(net, "classification_head.hidden", "classification_head.out_proj")
    outputs(net, last, "lm_head", "qa_outputs")
    if "final_logits_bias" in net:
        net.table("final_logits_bias", "final_logits_bias.rows", Axis("vocabulary", charge=0))


def _stack(net: WiringBuilder, at: str, stream: str, is_inner: bool, memory: str | None = None) -> str:
    """The layers of an encoder, or of a decoder that reads its ``memory``; gives what reads the last of them."""
    heads = net.number(f"{at.rpartition('.')[2]}_attention_heads")
    norms_before = f"{at}.layer_norm" in net
    if f"{at}.embed_positions" in net:
        net.table(f"{at}.embed_positions", f"{at}.positions", stream)
    if f"{at}.layernorm_embedding" in net:
        net.normed(stream, f"{at}.layernorm_embedding", absorbed=False)
    for layer in net.numbered(f"{at}.layers."):
        _layer(net, layer, stream, heads, memory, norms_before=norms_before)
    return net.normed(stream, f"{at}.layer_norm", absorbed=is_inner) if norms_before else stream


def _layer(
    net: WiringBuilder, at: str, stream: str, heads: int, memory: str | None, *, norms_before: bool
) -> None:
    block, cross = _BLOCK.under(at), tuple(f"{at}.encoder_attn.{name}" for name in _CROSS)
    for names, norm in (
        (block.attention, block.attention_norm),
        *([(cross, f"{at}.encoder_attn_layer_norm")] if memory else []),
    ):
        reads = net.normed(stream, norm) if norms_before else stream
        net.attention(names, reads, stream, heads, memory=memory if names == cross else None)
        if not norms_before:
            net.normed(stream, norm, absorbed=False)
    reads = net.normed(stream, block.norm) if norms_before else stream
    net.mlp(block.up, block.down, reads, stream, activation(net.config))
    if not norms_before:
        net.normed(stream, block.norm, absorbed=False)


@family(OPT)
def opt(net: WiringBuilder) -> None:
    """OPT (Zhang et al. 2022): of 350 million parameters with norms after, and narrow words that are projected."""
    at = f"{net.prefix('decoder.layers.0')}decoder."
    layers = net.numbered(f"{at}layers.")
    if not layers:
        raise WiringMismatch("no layers")
    heads = heads_of(net, "lm_head", "score", "qa_outputs")
    is_inner = bool(heads) or is_language_model(net)
    is_projected = f"{at}project_in" in net
    words = residual(net, "words", is_inner) if is_projected else residual(net, "stream", is_inner)
    stream = net.group("stream", PERMUTE) if is_projected else words
    embedded(net, at, words, "embed_tokens")
    if is_projected:
        net.dense(f"{at}project_in", stream, words)
    net.table(f"{at}embed_positions", "positions", stream)
    wire = pre_normed if net.config.get("do_layer_norm_before", True) is True else post_normed
    for layer in layers:
        wire(net, _BLOCK.under(layer), stream, net.number("num_attention_heads"), activation(net.config))
    last = stream
    if f"{at}final_layer_norm" in net:
        last = net.normed(stream, f"{at}final_layer_norm", absorbed=bool(heads) or is_projected)
    if is_projected:
        net.dense(f"{at}project_out", words, last)
        last = words
    outputs(net, last, *heads)
