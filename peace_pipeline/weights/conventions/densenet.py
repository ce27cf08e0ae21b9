"""Densely connected CNNs (Huang et al. 2017)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

DENSENET = declare(Conventions(("densenet",), timm=r"densenet"))
