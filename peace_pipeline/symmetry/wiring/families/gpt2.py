"""GPT-2."""

from __future__ import annotations

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
from peace_pipeline.weights.conventions.gpt2 import GPT2

_GPT2 = Block(("attn.q", "attn.k", "attn.v", "attn.c_proj"), "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")


@family(GPT2)
def gpt2(net: WiringBuilder) -> None:
    """GPT-2 (Radford et al. 2019)."""
    at, stream, heads = decoder(net, "h.0")
    embedded(net, at, stream, "wte", "wpe")
    for block in net.numbered(f"{at}h."):
        pre_normed(net, _GPT2.under(block), stream, net.number("n_head"), activation(net.config))
    unembedded(net, stream, f"{at}ln_f", heads)
