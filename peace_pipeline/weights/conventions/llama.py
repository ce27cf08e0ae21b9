"""LLaMA and what is built like it (Touvron et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

HEADS = {"num_attention_heads": "layers.0.self_attn.q_proj.weight"}
KEYS = ("num_key_value_heads", "layers.0.self_attn.k_proj.weight")
_NAMES = (
    "layers.0.input_layernorm.weight",
    "layers.0.post_attention_layernorm.weight",
    "layers.0.self_attn.q_proj.weight",
    "layers.0.mlp.gate_proj.weight",
)

LLAMA = declare(
    Conventions(
        ("llama", "mistral", "qwen2", "qwen3"), marks=(Marks(_NAMES, HEADS, KEYS, language="model."),)
    )
)
