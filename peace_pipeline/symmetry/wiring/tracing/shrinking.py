"""Smaller configs of the same architecture: two blocks and few words."""

from __future__ import annotations

import re
from typing import Any

_BLOCKS = re.compile(r"num_hidden_layers|n_layers?|num_layers|depth|(num_)?(en|de)coder_layers|num_blocks")
_WORDS, _MOST_BLOCKS, _MOST_WORDS = re.compile(r"vocab_size"), 2, 1000
_TOKEN = re.compile(r".*token_(id|index)")


def smaller(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with at most two blocks and a thousand words; what has one entry a block keeps the first and the last.
    Ids of special tokens that are beyond the words become others, each its own."""
    depths = {value for key, value in settings.items() if _BLOCKS.fullmatch(key) and isinstance(value, int)}
    tokens: dict[int, int] = {}

    def small(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return smaller(value)
        if isinstance(value, list):
            if len(value) > _MOST_BLOCKS and len(value) in depths:
                return [value[0], value[-1]]
            return [small(key, each) for each in value] if _TOKEN.fullmatch(key) else value
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if _BLOCKS.fullmatch(key):
            return min(value, _MOST_BLOCKS)
        if _WORDS.fullmatch(key):
            return min(value, _MOST_WORDS)
        if _TOKEN.fullmatch(key) and value >= _MOST_WORDS:
            return tokens.setdefault(value, _MOST_WORDS - 1 - len(tokens))
        return value

    return {key: small(key, value) for key, value in settings.items()}
