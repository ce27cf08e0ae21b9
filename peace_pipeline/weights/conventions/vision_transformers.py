"""Vision Transformers (Dosovitskiy et al. 2021), DeiT (Touvron et al. 2021) and Swin (Liu et al. 2021)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_BLOCK, _WINDOWS = "encoder.layer.0.attention", "layers.0.blocks.0"

VIT = declare(
    Conventions(
        ("vit",),
        timm=r"vit_(tiny|small|base|large|so400m|huge|giant|gigantic)_patch(?!\w*_rpn)",
        marks=(
            Marks(
                (
                    "patch_embed.proj.weight",
                    "pos_embed",
                    "blocks.0.norm1.weight",
                    "blocks.0.attn.proj.weight",
                ),
                {"num_attention_heads": "blocks.0.attn.proj.weight"},
            ),
            Marks(
                (
                    "embeddings.patch_embeddings.projection.weight",
                    "encoder.layer.0.layernorm_before.weight",
                    f"{_BLOCK}.attention.query.weight",
                ),
                {"num_attention_heads": f"{_BLOCK}.attention.query.weight"},
            ),
        ),
    )
)
DEIT = declare(Conventions(("deit",), timm=r"deit3?_"))
SWIN = declare(
    Conventions(
        ("swin",),
        timm=r"swin_(tiny|small|base|large)_",
        marks=(
            Marks(("patch_embed.proj.weight", f"{_WINDOWS}.attn.relative_position_bias_table")),
            Marks(
                (
                    "embeddings.patch_embeddings.projection.weight",
                    f"encoder.{_WINDOWS}.attention.self.relative_position_bias_table",
                )
            ),
        ),
    )
)
