"""Gemma (Mesnard et al. 2024): gains are stored less one."""

import re

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare
from peace_pipeline.weights.conventions.llama import HEADS, KEYS, NAMES, SIZES

_NORMS = re.compile(
    r"(?:.*\.)?(?:(?:input|(?:pre|post)_(?:attention|feedforward))_layernorm|(?:[qk]_)?norm)\.weight"
)

_NAMES = (
    *NAMES,
    "layers.0.pre_feedforward_layernorm.weight",
    "layers.0.post_feedforward_layernorm.weight",
)

GEMMA = declare(
    Conventions(
        ("gemma", "gemma2", "gemma3_text"),
        gains_less_one=_NORMS,
        marks=(
            Marks(_NAMES, HEADS, KEYS, {"model_type": "gemma2"}, SIZES, ("Gemma2ForCausalLM", "model.")),
            Marks(
                NAMES,
                HEADS,
                KEYS,
                {"model_type": "gemma"},
                SIZES,
                ("GemmaForCausalLM", "model."),
                {"embed_tokens.weight": (0, 256_000)},
                ("lm_head.weight",),
            ),
        ),
    )
)
OF_IMAGES_AND_TEXTS = declare(Conventions(("gemma3",), gains_less_one=_NORMS))
