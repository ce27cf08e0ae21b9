"""GPT-NeoX and Pythia."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    decoder,
    embedded,
    pre_normed,
    turned,
    unembedded,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.weights.conventions.gpt_neox import GPT_NEOX

_GPT_NEOX = Block(
    ("attention.q", "attention.k", "attention.v", "attention.dense"),
    "input_layernorm",
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
    "post_attention_layernorm",
)


@family(GPT_NEOX)
def gpt_neox(net: WiringBuilder) -> None:
    """GPT-NeoX and Pythia (Black et al. 2022): rotary positions turn a part of each head."""
    at, stream, heads = decoder(net, "layers.0")
    embedded(net, at, stream, "embed_in")
    count = net.number("num_attention_heads")
    for layer in net.numbered(f"{at}layers."):
        block = _GPT_NEOX.under(layer)
        width = net.rows(block.attention[0]) // count
        pre_normed(net, block, stream, count, activation(net.config), rotary=turned(net, width, 0.25))
    unembedded(net, stream, f"{at}final_layer_norm", heads)
