"""GPT-NeoX and Pythia (Black et al. 2022)."""

from peace_pipeline.weights.conventions.facts import BY_HEAD, Conventions, Marks, declare

_NAMES = ("embed_in.weight", "layers.0.attention.dense.weight", "layers.0.mlp.dense_h_to_4h.weight")

GPT_NEOX = declare(
    Conventions(
        ("gpt_neox",),
        fused={"query_key_value": BY_HEAD},
        marks=(
            Marks(
                _NAMES,
                {"num_attention_heads": "layers.0.attention.dense.weight"},
                sizes={
                    "vocab_size": ("embed_in.weight", 0),
                    "hidden_size": ("embed_in.weight", 1),
                    "intermediate_size": ("layers.0.mlp.dense_h_to_4h.weight", 0),
                    "num_hidden_layers": ("layers.", 0),
                },
                language=("GPTNeoXForCausalLM", "gpt_neox."),
            ),
        ),
    )
)
JAPANESE = declare(Conventions(("gpt_neox_japanese",), fused={"query_key_value": BY_HEAD}))
