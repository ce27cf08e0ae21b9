"""LLaMA, Mistral, Qwen, Gemma, and their mixtures of experts: RMSNorm, rotary positions, gated units."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    attended,
    decoder,
    embedded,
    experts,
    fed_forward,
    outputs,
    turned,
    unembedded,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import ORTHOGONAL, SCALE, SIGN
from peace_pipeline.symmetry.wiring.types import Axis, WiringMismatch
from peace_pipeline.weights.conventions.gemma import GEMMA
from peace_pipeline.weights.conventions.llama import LLAMA
from peace_pipeline.weights.conventions.olmo import OLMO

_LLAMA = Block(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    "input_layernorm",
    "mlp.up_proj",
    "mlp.down_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
)
_FUSED = Block(
    ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o_proj"),
    _LLAMA.attention_norm,
    "mlp.up",
    _LLAMA.down,
    _LLAMA.norm,
    "mlp.gate",
)
"""Of parts that the file has in one (Phi-3)."""
_GEMMA2 = Block(
    _LLAMA.attention, _LLAMA.attention_norm, _LLAMA.up, _LLAMA.down, "pre_feedforward_layernorm", _LLAMA.gate
)


_PARTLY_ROTARY = ("phi3",)
"""Model types that heed it where a config has a part of each head turned only."""


@family(LLAMA, GEMMA)
def llama(net: WiringBuilder) -> None:
    """Decoders with RMSNorm, rotary positions, grouped queries and gated units (Touvron et al. 2023).

    Qwen3 and Gemma 3 also normalise queries and keys; Gemma 2 and 3 what a block adds to the stream. Mixtral (Jiang et
    al. 2024), the Qwens with experts and GPT-OSS choose among many layers of hidden units.

    Raises:
        WiringMismatch: where its norms subtract a mean, as their shifts say (StableLM): streams have no signs then.
    """
    at, stream, heads = decoder(net, "layers.0", SIGN, ORTHOGONAL)
    if f"{at}norm" in net and "shift" in net.layers[f"{at}norm"].tensors:
        raise WiringMismatch("its norms are no RMSNorms")
    embedded(net, at, stream, "embed_tokens")
    count, keys = net.number("num_attention_heads"), net.number("num_key_value_heads", "num_attention_heads")
    for layer in net.numbered(f"{at}layers."):
        adds_normed = f"{layer}.pre_feedforward_layernorm" in net
        was_fused = f"{layer}.self_attn.q" in net
        block = (_GEMMA2 if adds_normed else _FUSED if was_fused else _LLAMA).under(layer)
        q_norm, k_norm = f"{layer}.self_attn.q_norm", f"{layer}.self_attn.k_norm"
        width = net.rows(block.attention[0]) // count
        rotary = turned(net, width) if net.config.get("model_type") in _PARTLY_ROTARY else width
        norms = (q_norm, k_norm) if q_norm in net else None
        sinks = f"{layer}.self_attn.sinks" if f"{layer}.self_attn.sinks" in net else None
        attended(net, block, stream, count, keys=keys, rotary=rotary, norms=norms, sinks=sinks)
        if f"{layer}.mlp.experts.up_proj" in net:
            _mixture(net, f"{layer}.mlp", net.normed(stream, block.norm), stream)
        else:
            fed_forward(net, block, stream, activation(net.config))
        for norm in ("post_attention_layernorm", "post_feedforward_layernorm") if adds_normed else ():
            net.vector(f"{layer}.{norm}", Axis(stream, charge=0))
    unembedded(net, stream, f"{at}norm", heads)


@family(OLMO)
def olmo(net: WiringBuilder) -> None:
    """OLMo (Groeneveld et al. 2024): its norms have no gains, and nothing to absorb.

    Raises:
        WiringMismatch: where queries, keys and values are clipped: then they have no other symmetry than their order.
    """
    if net.config.get("clip_qkv"):
        raise WiringMismatch("its queries, keys and values are clipped")
    at, stream, heads = decoder(net, "layers.0")
    embedded(net, at, stream, "embed_tokens")
    count, keys = net.number("num_attention_heads"), net.number("num_key_value_heads", "num_attention_heads")
    for layer in net.numbered(f"{at}layers."):
        block = _LLAMA.under(layer)
        rotary = net.rows(block.attention[0]) // count
        net.attention(block.attention, stream, stream, count, keys=keys, rotary=rotary)
        net.mlp(block.up, block.down, stream, stream, activation(net.config), gate=block.gate)
    outputs(net, stream, *heads)


def _mixture(net: WiringBuilder, at: str, reads: str, stream: str) -> None:
    """The experts of a block, and those that Qwen always asks. GPT-OSS bounds what its units are and adds one to it:
    they have no sign and no scale."""
    router = next((name for name in (f"{at}.gate", f"{at}.router") if name in net), f"{at}.gate")
    bounds = f"{at}.experts.down_proj_bias"
    chosen = experts(
        net, f"{at}.experts", router, reads, stream, actions=() if bounds in net else (SCALE, SIGN)
    )
    if bounds in net:
        net.table(bounds, chosen, Axis(stream, charge=1))
    if f"{at}.shared_expert.up_proj" in net:
        up, down, gate = (f"{at}.shared_expert.{name}_proj" for name in ("up", "down", "gate"))
        net.mlp(up, down, reads, stream, None, gate=gate)
        net.dense(f"{at}.shared_expert_gate", f"{at}.shared_expert_gate.out", reads)
