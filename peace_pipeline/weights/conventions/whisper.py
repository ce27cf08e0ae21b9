"""Whisper (Radford et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_QUERIES = "{}.layers.0.self_attn.q_proj.weight"

WHISPER = declare(
    Conventions(
        ("whisper",),
        marks=(
            Marks(
                ("encoder.conv1.weight", "encoder.embed_positions.weight", _QUERIES.format("encoder")),
                {f"{part}_attention_heads": _QUERIES.format(part) for part in ("encoder", "decoder")},
                language=("WhisperForConditionalGeneration", "model."),
            ),
        ),
    )
)
