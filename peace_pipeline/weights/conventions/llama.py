"""LLaMA and what is built like it (Touvron et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

HEADS = {"num_attention_heads": "layers.0.self_attn.q_proj.weight"}
KEYS = ("num_key_value_heads", "layers.0.self_attn.k_proj.weight")
SIZES = {
    "vocab_size": ("embed_tokens.weight", 0),
    "hidden_size": ("embed_tokens.weight", 1),
    "intermediate_size": ("layers.0.mlp.gate_proj.weight", 0),
    "num_hidden_layers": ("layers.", 0),
}
_NAMES = (
    "layers.0.input_layernorm.weight",
    "layers.0.post_attention_layernorm.weight",
    "layers.0.self_attn.q_proj.weight",
    "layers.0.mlp.gate_proj.weight",
)

LLAMA = declare(
    Conventions(
        ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "phi3"),
        marks=(Marks(_NAMES, HEADS, KEYS, sizes=SIZES, language=("LlamaForCausalLM", "model.")),),
    )
)
