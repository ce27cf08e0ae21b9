"""Residual CNNs (He et al. 2016)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

RESNET = declare(Conventions(("resnet",), timm=r"(wide_)?resnet\d+(_2)?$"))
