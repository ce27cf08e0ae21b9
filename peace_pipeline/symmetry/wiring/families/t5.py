"""T5, mT5 and UMT5."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import (
    embedded,
    heads_of,
    is_language_model,
    outputs,
    residual,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import ORTHOGONAL, PERMUTE, SIGN
from peace_pipeline.symmetry.wiring.types import WiringMismatch
from peace_pipeline.weights.conventions.t5 import MULTILINGUAL, T5


@family(T5, MULTILINGUAL)
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
