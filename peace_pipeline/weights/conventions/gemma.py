"""Gemma (Mesnard et al. 2024): gains are stored less one."""

import re

from peace_pipeline.weights.conventions.facts import Conventions, declare

_NORMS = re.compile(
    r"(?:.*\.)?(?:(?:input|(?:pre|post)_(?:attention|feedforward))_layernorm|(?:[qk]_)?norm)\.weight"
)

GEMMA = declare(Conventions(("gemma", "gemma2", "gemma3_text"), tied_by_default=True, gains_less_one=_NORMS))
OF_IMAGES_AND_TEXTS = declare(Conventions(("gemma3",), gains_less_one=_NORMS))
