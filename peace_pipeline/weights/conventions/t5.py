"""T5 (Raffel et al. 2020) and its multilingual kin."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_ATTENTION = "encoder.block.0.layer.0.SelfAttention"

T5 = declare(
    Conventions(
        ("t5",),
        marks=(
            Marks(
                (f"{_ATTENTION}.q.weight", f"{_ATTENTION}.relative_attention_bias.weight"),
                {"num_heads": f"{_ATTENTION}.q.weight"},
                language=("T5ForConditionalGeneration", ""),
            ),
        ),
    )
)
MULTILINGUAL = declare(Conventions(("mt5", "umt5")))
