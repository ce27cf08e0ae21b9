"""LLaMA and what is built like it (Touvron et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_ATTENTION, _NORM = "layers.0.self_attn", "layers.0.post_attention_layernorm.weight"
_INPUT_NORM = "layers.0.input_layernorm.weight"
HEADS = {"num_attention_heads": f"{_ATTENTION}.q_proj.weight"}
KEYS = ("num_key_value_heads", f"{_ATTENTION}.k_proj.weight")
SIZES = {
    "vocab_size": ("embed_tokens.weight", 0),
    "hidden_size": ("embed_tokens.weight", 1),
    "intermediate_size": ("layers.0.mlp.down_proj.weight", 1),
    "num_hidden_layers": ("layers.", 0),
}
_BIAS, _QUERY_NORM = f"{_ATTENTION}.q_proj.bias", f"{_ATTENTION}.q_norm.weight"
_EXPERTS = (
    "layers.0.block_sparse_moe.experts.0.w2.weight|layers.0.mlp.experts.down_proj|blk.0.ffn_down_exps.weight"
)
NAMES = (_INPUT_NORM, _NORM, f"{_ATTENTION}.q_proj.weight", "layers.0.mlp.gate_proj.weight")
_MODEL = "model."

LLAMA = declare(
    Conventions(
        ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "phi3"),
        marks=(
            Marks(
                NAMES,
                HEADS,
                KEYS,
                sizes=SIZES,
                language=("LlamaForCausalLM", _MODEL),
            ),
            Marks(
                (*NAMES, _BIAS),
                HEADS,
                KEYS,
                {"model_type": "qwen2"},
                SIZES,
                ("Qwen2ForCausalLM", _MODEL),
            ),
            Marks(
                (*NAMES, _QUERY_NORM),
                HEADS,
                KEYS,
                {"model_type": "qwen3"},
                SIZES,
                ("Qwen3ForCausalLM", _MODEL),
            ),
            Marks(
                (_INPUT_NORM, _NORM, f"{_ATTENTION}.q.weight", "layers.0.mlp.up.weight"),
                {"num_attention_heads": f"{_ATTENTION}.q.weight"},
                ("num_key_value_heads", f"{_ATTENTION}.k.weight"),
                {"model_type": "phi3"},
                sizes=SIZES,
                language=("Phi3ForCausalLM", _MODEL),
            ),
            Marks(
                (_INPUT_NORM, _NORM, f"{_ATTENTION}.q_proj.weight", "layers.0.mlp.experts.up_proj.weight"),
                HEADS,
                KEYS,
                {"model_type": "mixtral"},
                SIZES
                | {
                    "num_local_experts": ("layers.0.mlp.gate.weight", 0),
                    "intermediate_size": (_EXPERTS, -1),
                },
                language=("MixtralForCausalLM", _MODEL),
            ),
        ),
    )
)
