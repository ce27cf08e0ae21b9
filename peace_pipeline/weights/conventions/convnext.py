"""ConvNeXt (Liu et al. 2022)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

CONVNEXT = declare(
    Conventions(
        ("convnext",),
        timm=r"convnext_",
        marks=(
            Marks(("stem.0.weight", "stages.0.blocks.0.conv_dw.weight", "stages.0.blocks.0.gamma")),
            Marks(("embeddings.patch_embeddings.weight", "encoder.stages.0.layers.0.dwconv.weight")),
            Marks(("features.0.0.weight", "features.1.0.block.0.weight", "features.1.0.layer_scale")),
        ),
    )
)
