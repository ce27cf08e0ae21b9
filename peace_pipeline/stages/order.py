"""The stages in the order in which data goes through them. Each has an asset; a batch goes through some of them."""

from __future__ import annotations

STAGES = CRAWL, EXTRACT, LAYERS, RESPOND, PAIRS, TRAIN, EMBED, INDEX = (
    "crawl",
    "extract",
    "layers",
    "respond",
    "pairs",
    "train",
    "embed",
    "index",
)
BATCH_STAGES = (EXTRACT, LAYERS, RESPOND, EMBED, INDEX)
"""Those that a batch of models goes through; the others read or write the lake as a whole."""
_NEED_ENCODER = (EMBED, INDEX)


def stages_from(first: str, *, has_encoder: bool = True) -> list[str]:
    """The stages of a batch from ``first`` on that can run: without an encoder nothing is embedded."""
    rest = BATCH_STAGES[BATCH_STAGES.index(first) :]
    return [stage for stage in rest if has_encoder or stage not in _NEED_ENCODER]
