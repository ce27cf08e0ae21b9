"""CLIP (Radford et al. 2021)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_LAYER = "encoder.layers.0"
_NAMES = (f"{_LAYER}.layer_norm1.weight", f"{_LAYER}.self_attn.q_proj.weight", f"{_LAYER}.mlp.fc1.weight")
_TEXTS, _IMAGES = "embeddings.token_embedding.weight", "embeddings.patch_embedding.weight"
_ACT = {"hidden_act": "quick_gelu"}

CLIP = declare(
    Conventions(
        ("clip", "clip_text_model", "clip_vision_model"),
        marks=(
            Marks(
                (_TEXTS, *_NAMES),
                {"num_attention_heads": _NAMES[1]},
                config=_ACT | {"model_type": "clip_text_model"},
            ),
            Marks(
                (_IMAGES, "embeddings.class_embedding", *_NAMES),
                {"num_attention_heads": _NAMES[1]},
                config=_ACT | {"model_type": "clip_vision_model"},
            ),
            Marks(
                (_TEXTS, _IMAGES, "visual_projection.weight", "text_projection.weight"),
                {
                    "text_config.num_attention_heads": f"text_model.{_NAMES[1]}",
                    "vision_config.num_attention_heads": f"vision_model.{_NAMES[1]}",
                },
                config=_ACT,
            ),
        ),
    )
)
