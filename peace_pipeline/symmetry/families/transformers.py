"""Transformer families."""

from __future__ import annotations

from peace_pipeline.symmetry import wiring as w
from peace_pipeline.symmetry.families.registry import family
from peace_pipeline.symmetry.sketch import Sketch, activation
from peace_pipeline.symmetry.wiring import WiringMismatch


@family("llama", "mistral", "qwen2", "qwen3", "gemma")
def llama(net: Sketch) -> None:
    """Decoders with RMSNorm, rotary positions, grouped queries and gated units (Touvron et al. 2023; Qwen3 also
    normalises queries and keys)."""
    at = net.prefix("layers.0")
    if not at and "norm" not in net:
        raise WiringMismatch("no layers")
    tied = "lm_head" not in net and is_language_model(net)
    has_head = tied or any(head in net for head in ("lm_head", "score"))
    stream = net.group("stream", w.PERMUTE, w.SIGN, w.ORTHOGONAL) if has_head else net.fixed("stream")
    net.table(f"{at}embed_tokens", "vocabulary", stream)
    heads = net.number("num_attention_heads")
    keys = net.number("num_key_value_heads", "num_attention_heads")
    for block in net.numbered(f"{at}layers."):
        attention, mlp = f"{block}.self_attn", f"{block}.mlp"
        width = net.rows(f"{attention}.q_proj") // heads
        norms = (f"{attention}.q_norm", f"{attention}.k_norm") if f"{attention}.q_norm" in net else None
        net.attention(
            tuple(f"{attention}.{name}_proj" for name in "qkvo"),
            net.normed(stream, f"{block}.input_layernorm"),
            stream,
            heads,
            keys=keys,
            rotary=width,
            norms=norms,
        )
        net.mlp(
            f"{mlp}.up_proj",
            f"{mlp}.down_proj",
            net.normed(stream, f"{block}.post_attention_layernorm"),
            stream,
            activation(net.config),
            gate=f"{mlp}.gate_proj",
        )
    last = net.normed(stream, f"{at}norm", absorbed=has_head and not tied)
    for head in ("lm_head", "score"):
        if head in net:
            net.dense(head, "output", last)


def is_language_model(net: Sketch) -> bool:
    """Whether a network without a head of its own is a language model, whose head is its input embedding."""
    names = net.config.get("architectures")
    first = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return first.endswith(
        ("LMHeadModel", "ForCausalLM", "ForMaskedLM", "ForConditionalGeneration", "ForPreTraining")
    )
