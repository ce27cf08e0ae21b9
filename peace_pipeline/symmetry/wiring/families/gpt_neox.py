"""GPT-NeoX and Pythia."""

from __future__ import annotations

import math
from collections.abc import Mapping

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    decoder,
    embedded,
    pre_normed,
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
        rotary = 2 * math.ceil(int(width * _turned_share(net)) / 2)
        pre_normed(net, block, stream, count, activation(net.config), rotary=rotary)
    unembedded(net, stream, f"{at}final_layer_norm", heads)


def _turned_share(net: WiringBuilder) -> float:
    """The part of each head that rotary positions turn in a GPT-NeoX."""
    parameters = net.config.get("rope_parameters")
    places = [parameters, net.config] if isinstance(parameters, Mapping) else [net.config]
    found = (place.get(key) for place in places for key in ("partial_rotary_factor", "rotary_pct"))
    return next((value for value in found if isinstance(value, float | int) and 0 <= value <= 1), 0.25)
