"""GPT-2 and what shares its modules (Radford et al. 2019)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_NAMES = ("wte.weight", "wpe.weight", "h.0.ln_1.weight", "h.0.mlp.c_fc.weight", "h.0.attn.c_proj.weight")

GPT2 = declare(
    Conventions(
        ("gpt2",),
        conv1d=True,
        marks=(
            Marks(
                _NAMES,
                {"n_head": "h.0.attn.c_proj.weight"},
                sizes={
                    "vocab_size": ("wte.weight", 0),
                    "n_embd": ("wte.weight", 1),
                    "n_positions": ("wpe.weight", 0),
                    "n_inner": ("h.0.mlp.c_fc.weight", 0),
                    "n_layer": ("h.", 0),
                },
                language=("GPT2LMHeadModel", ""),
            ),
        ),
    )
)
OTHERS = declare(Conventions(("openai-gpt", "imagegpt", "decision_transformer"), conv1d=True))
