"""ConvNeXt (Liu et al. 2022)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

CONVNEXT = declare(Conventions(("convnext",), timm=r"convnext_"))
