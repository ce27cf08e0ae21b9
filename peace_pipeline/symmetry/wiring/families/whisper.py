"""Whisper."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
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
from peace_pipeline.weights.conventions.whisper import WHISPER

_WHISPER = Block(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "self_attn_layer_norm",
    "fc1",
    "fc2",
    "final_layer_norm",
)


@family(WHISPER)
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
