"""Whisper (Radford et al. 2023)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_QUERIES = "{}.layers.0.self_attn.q_proj.weight"

WHISPER = declare(
    Conventions(
        ("whisper",),
        marks=(
            Marks(
                (
                    "encoder.conv1.weight",
                    "encoder.conv2.weight",
                    "encoder.embed_positions.weight",
                    _QUERIES.format("encoder"),
                ),
                {f"{part}_attention_heads": _QUERIES.format(part) for part in ("encoder", "decoder")},
                sizes={
                    "vocab_size": ("decoder.embed_tokens.weight", 0),
                    "d_model": ("encoder.embed_positions.weight", 1),
                    "num_mel_bins": ("encoder.conv1.weight", 1),
                    "max_source_positions": ("encoder.embed_positions.weight", 0),
                    "max_target_positions": ("decoder.embed_positions.weight", 0),
                    "encoder_ffn_dim": ("encoder.layers.0.fc1.weight", 0),
                    "decoder_ffn_dim": ("decoder.layers.0.fc1.weight", 0),
                    "encoder_layers": ("encoder.layers.", 0),
                    "decoder_layers": ("decoder.layers.", 0),
                },
                language=("WhisperForConditionalGeneration", "model."),
            ),
        ),
    )
)
