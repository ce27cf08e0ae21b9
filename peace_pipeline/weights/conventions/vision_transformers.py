"""Vision Transformers (Dosovitskiy et al. 2021), DeiT (Touvron et al. 2021) and Swin (Liu et al. 2021)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

VIT = declare(Conventions(("vit",), timm=r"vit_(tiny|small|base|large|huge|giant|gigantic)_patch(?!\w*_rpn)"))
DEIT = declare(Conventions(("deit",), timm=r"deit3?_"))
SWIN = declare(Conventions(("swin",), timm=r"swin_(tiny|small|base|large)_"))
