"""BART and what is built like it (Lewis et al. 2020), and OPT (Zhang et al. 2022)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_QUERIES = "{}.layers.0.self_attn.q_proj.weight"
_NAMES = (
    _QUERIES.format("encoder"),
    _QUERIES.format("decoder"),
    "decoder.layers.0.encoder_attn.q_proj.weight",
)
_HEADS = {f"{part}_attention_heads": _QUERIES.format(part) for part in ("encoder", "decoder")}
_OPT = (
    "decoder.embed_positions.weight",
    _QUERIES.format("decoder"),
    "decoder.layers.0.self_attn_layer_norm.weight",
)

BART = declare(
    Conventions(
        ("bart", "mbart", "plbart", "blenderbot", "blenderbot-small"),
        marks=(
            Marks(
                (
                    "shared.weight",
                    "encoder.embed_positions.weight",
                    "decoder.embed_positions.weight",
                    "encoder.layernorm_embedding.weight",
                    *_NAMES,
                ),
                _HEADS,
                language=("BartForConditionalGeneration", "model."),
            ),
        ),
    )
)
SINUSOIDAL = declare(
    Conventions(
        ("marian", "pegasus", "m2m_100"),
        marks=(
            Marks(
                ("shared.weight", *_NAMES),
                _HEADS,
                language=("PegasusForConditionalGeneration", "model."),
            ),
        ),
    )
)
OPT = declare(
    Conventions(
        ("opt",),
        marks=(
            Marks(
                _OPT,
                {"num_attention_heads": _QUERIES.format("decoder")},
                config={"activation_function": "relu"},
                language=("OPTForCausalLM", "model."),
            ),
        ),
    )
)
