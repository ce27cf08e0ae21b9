"""LLaMA, Mistral, Qwen and Gemma: RMSNorm, rotary positions, gated units."""

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
from peace_pipeline.symmetry.wiring.symmetries import ORTHOGONAL, SIGN
from peace_pipeline.symmetry.wiring.types import Axis
from peace_pipeline.weights.conventions.gemma import GEMMA
from peace_pipeline.weights.conventions.llama import LLAMA

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


@family(LLAMA, GEMMA)
def llama(net: WiringBuilder) -> None:
    """Decoders with RMSNorm, rotary positions, grouped queries and gated units (Touvron et al. 2023).

    Qwen3 and Gemma 3 also normalise queries and keys; Gemma 2 and 3 what a block adds to the stream.
    """
    at, stream, heads = decoder(net, "layers.0", SIGN, ORTHOGONAL)
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
