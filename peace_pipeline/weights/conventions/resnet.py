"""Residual CNNs (He et al. 2016)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

RESNET = declare(
    Conventions(
        ("resnet",),
        timm=r"(wide_)?resnet\d+(_2)?$",
        marks=(
            Marks(
                ("conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight")
            ),
            Marks(
                (
                    "embedder.embedder.convolution.weight",
                    "encoder.stages.0.layers.0.layer.0.convolution.weight",
                    "encoder.stages.0.layers.0.layer.0.normalization.running_var",
                ),
                config={"hidden_act": "relu"},
            ),
        ),
    )
)
