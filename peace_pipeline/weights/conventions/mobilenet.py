"""MobileNetV2 (Sandler et al. 2018) and EfficientNet (Tan and Le 2019)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_TIMM = ("conv_stem.weight", "bn1.running_var", "blocks.0.0.conv_dw.weight", "conv_head.weight")

MOBILENET = declare(
    Conventions(
        ("mobilenet_v2",),
        timm=r"mobilenetv2_",
        marks=(
            Marks(("features.0.0.weight", "features.0.1.running_var", "features.1.conv.0.0.weight")),
            Marks(("conv_stem.first_conv.convolution.weight", "layer.0.conv_3x3.convolution.weight")),
            Marks(_TIMM),
        ),
    )
)
EFFICIENTNET = declare(
    Conventions(
        ("efficientnet",),
        timm=r"(tf_)?efficientnet_b\d",
        marks=(
            Marks((*_TIMM, "blocks.0.0.se.conv_reduce.weight")),
            Marks(("embeddings.convolution.weight", "encoder.blocks.0.depthwise_conv.depthwise_conv.weight")),
        ),
    )
)
