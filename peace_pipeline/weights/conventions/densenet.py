"""Densely connected CNNs (Huang et al. 2017)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

DENSENET = declare(
    Conventions(
        ("densenet",),
        timm=r"densenet",
        marks=(Marks(("features.conv0.weight", "features.denseblock1.denselayer1.norm1.running_var")),),
    )
)
