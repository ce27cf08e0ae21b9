"""Transformers of an encoder and a decoder that attends to what the encoder's last norm gives."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.builder import WiringBuilder, activation
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    attended,
    embedded,
    fed_forward,
    heads_of,
    is_language_model,
    outputs,
    pre_normed,
    residual,
    unembedded,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import ORTHOGONAL, PERMUTE, SIGN
from peace_pipeline.symmetry.wiring.types import WiringMismatch

_WHISPER = Block(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "self_attn_layer_norm",
    "fc1",
    "fc2",
    "final_layer_norm",
)


@family("t5", "mt5", "umt5")
def t5(net: WiringBuilder) -> None:
    """T5 (Raffel et al. 2020), with gated units from version 1.1 on, and its encoder alone.

    One embedding serves both stacks, so they have one stream. The position bias of a stack's first block is that of
    all its blocks, so their heads are the same; UMT5 has one for each block.
    """
    at = net.prefix("encoder.block.0")
    decoder = net.numbered(f"{at}decoder.block.")
    heads = heads_of(net, "lm_head", "classification_head.dense", "classifier", "qa_outputs")
    is_inner = bool(heads) or (bool(decoder) and is_language_model(net))
    stream = residual(net, "stream", is_inner, SIGN, ORTHOGONAL)
    for table in ("shared", "encoder.embed_tokens", "decoder.embed_tokens"):
        if f"{at}{table}" in net:
            embedded(net, at, stream, table)
    _t5_stack(net, f"{at}encoder", stream)
    last = net.normed(stream, f"{at}encoder.final_layer_norm", absorbed=is_inner)
    if decoder:
        _t5_stack(net, f"{at}decoder", stream, last)
        last = net.normed(stream, f"{at}decoder.final_layer_norm", absorbed=bool(heads))
    if "classification_head.dense" in net:
        net.dense("classification_head.dense", net.hidden("classification_head.hidden", "tanh"), last)
        outputs(net, "classification_head.hidden", "classification_head.out_proj")
    outputs(net, last, "lm_head", "classifier", "qa_outputs")


def _t5_stack(net: WiringBuilder, at: str, stream: str, memory: str | None = None) -> None:
    heads = net.number("num_heads")
    act = activation(net.config, "dense_act_fn", "feed_forward_proj") or "relu"
    blocks = net.numbered(f"{at}.block.")
    biased = [block for block in blocks if f"{block}.layer.0.SelfAttention.relative_attention_bias" in net]
    if not biased:
        raise WiringMismatch(f"{at} has no position bias")
    shared = net.group(f"{at}.heads", PERMUTE) if len(biased) == 1 else None
    for block in blocks:
        attention = f"{block}.layer.0.SelfAttention"
        reads = net.normed(stream, f"{block}.layer.0.layer_norm")
        own = net.attention(_t5_attention(attention), reads, stream, heads, shared=shared)
        if block in biased:
            net.table(f"{attention}.relative_attention_bias", "buckets", own)
        if memory:
            names = _t5_attention(f"{block}.layer.1.EncDecAttention")
            net.attention(
                names, net.normed(stream, f"{block}.layer.1.layer_norm"), stream, heads, memory=memory
            )
        last = f"{block}.layer.{2 if memory else 1}"
        hidden, gated = f"{last}.DenseReluDense", f"{last}.DenseReluDense.wi_0" in net
        up, gate = (f"{hidden}.wi_1", f"{hidden}.wi_0") if gated else (f"{hidden}.wi", None)
        net.mlp(up, f"{hidden}.wo", net.normed(stream, f"{last}.layer_norm"), stream, act, gate=gate)


def _t5_attention(at: str) -> tuple[str, str, str, str]:
    return f"{at}.q", f"{at}.k", f"{at}.v", f"{at}.o"


@family("whisper")
def whisper(net: WiringBuilder) -> None:
    """Whisper (Radford et al. 2023), and its encoder with a classifier."""
    at, act = net.prefix("encoder.layers.0"), activation(net.config)
    decoder = net.numbered(f"{at}decoder.layers.")
    heads = heads_of(net, "proj_out", "projector")
    is_inner = bool(heads) or (bool(decoder) and is_language_model(net))
    sounds = residual(net, "encoder.stream", is_inner)
    net.dense(f"{at}encoder.conv1", net.hidden("encoder.conv1.hidden", "gelu"), "bands")
    net.dense(f"{at}encoder.conv2", sounds, "encoder.conv1.hidden")
    net.table(f"{at}encoder.embed_positions", "encoder.positions", sounds)
    for layer in net.numbered(f"{at}encoder.layers."):
        pre_normed(net, _WHISPER.under(layer), sounds, net.number("encoder_attention_heads"), act)
    memory = net.normed(sounds, f"{at}encoder.layer_norm", absorbed=is_inner)
    if decoder:
        words = residual(net, "decoder.stream", is_inner)
        embedded(net, f"{at}decoder.", words, "embed_tokens", "embed_positions")
        for layer in decoder:
            _whisper_decoder(net, layer, words, memory)
        unembedded(net, words, f"{at}decoder.layer_norm", heads)
    elif heads:
        net.dense("projector", net.hidden("projector.hidden", "identity"), memory)
        outputs(net, "projector.hidden", "classifier")


def _whisper_decoder(net: WiringBuilder, layer: str, stream: str, memory: str) -> None:
    heads, block, cross = (
        net.number("decoder_attention_heads"),
        _WHISPER.under(layer),
        f"{layer}.encoder_attn",
    )
    names = (f"{cross}.q_proj", f"{cross}.k_proj", f"{cross}.v_proj", f"{cross}.out_proj")
    attended(net, block, stream, heads)
    net.attention(names, net.normed(stream, f"{cross}_layer_norm"), stream, heads, memory=memory)
    fed_forward(net, block, stream, activation(net.config))
