"""MobileNetV2 (Sandler et al. 2018) and EfficientNet (Tan and Le 2019)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

MOBILENET = declare(Conventions(("mobilenet_v2",), timm=r"mobilenetv2_"))
EFFICIENTNET = declare(Conventions(("efficientnet",), timm=r"(tf_)?efficientnet_b\d"))
