"""Smaller configs of the same architecture: a block of each kind, few words, and narrower, if need be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peace_pipeline.symmetry.wiring.types import WiringMismatch

_BLOCKS = re.compile(r"num_hidden_layers|n_layers?|num_layers|depth|(num_)?(en|de)coder_layers|num_blocks")
_PERIOD = re.compile(r".*(period|interval|pattern|freq|_step)")
"""Every so many blocks one is of another kind."""
_FIRST = re.compile(r"first_k_dense_replace|num_dense_layers|moe_layer_start_index")
"""So many blocks are of another kind than the rest."""
_FEWEST, _MOST = 2, 8
_WORDS, _MOST_WORDS = re.compile(r"vocab_size"), 1000
_TOKEN = re.compile(r".*token_(id|index)")
_WIDTH = re.compile(
    r".*(_size|_dim|_rank|_width|_channels)s?|dims?|d_model|d_ff|d_inner|n_embd|n_inner|width"
)
_NO_WIDTH = re.compile(
    r".*(num_|max_|vocab|image|patch|kernel|window|chunk|head|position|temporal|block|crop|bucket|stride|group|grid"
    r"|codebook|conv_size|state_size|rope|batch|mel).*"
)
_HEADS = re.compile(r".*heads?")
_NARROWEST, _NARROWER = 16, (2, 4, 8, 16, 32, 64)


def smaller(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with a block of each kind, two at least, and a thousand words. Ids of special tokens that are beyond the
    words become others, each its own."""
    return _Smaller(1, 1).of(settings)


def narrower(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same, with every width divided by a power of two, the widest first: with as few heads, with two of each kind
    at least, or with all of them. Not all of these need make a network."""
    fewest = min((count // 2 for count in _heads(settings)), default=1)
    for by in _NARROWER:
        for heads in dict.fromkeys((min(by, 1 << max(fewest, 1).bit_length() - 1), by, 1)):
            yield _Smaller(by, heads).of(settings)


def _heads(settings: dict[str, Any]) -> Iterator[int]:
    """The numbers of heads, where there are several."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _heads(value)
        elif _HEADS.fullmatch(key) and isinstance(value, int) and value > 1:
            yield value


@dataclass(frozen=True)
class _Smaller:
    """Widths and numbers of heads are divided by these."""

    width: int
    heads: int
    tokens: dict[int, int] = field(default_factory=dict)

    def of(self, settings: dict[str, Any]) -> dict[str, Any]:
        depths = {
            value for key, value in settings.items() if _BLOCKS.fullmatch(key) and isinstance(value, int)
        }
        kept = {depth: _kept(settings, depth) for depth in depths}
        return {key: self._small(key, value, kept) for key, value in settings.items()}

    def _small(self, key: str, value: Any, kept: dict[int, list[int]]) -> Any:
        if isinstance(value, dict):
            return self.of(value)
        if isinstance(value, list):
            if len(value) in kept:
                return [value[block] for block in kept[len(value)]]
            is_each = any(pattern.fullmatch(key) for pattern in (_TOKEN, _WIDTH, _HEADS))
            return [self._small(key, each, kept) for each in value] if is_each else value
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if _BLOCKS.fullmatch(key):
            return len(kept[value])
        if _FIRST.fullmatch(key):
            return min(value, 1)
        if _WORDS.fullmatch(key):
            return min(value, _MOST_WORDS)
        if _TOKEN.fullmatch(key) and value >= _MOST_WORDS:
            return self.tokens.setdefault(value, _MOST_WORDS - 1 - len(self.tokens))
        if _HEADS.fullmatch(key):
            return max(value // self.heads, min(value, 1))
        if _WIDTH.fullmatch(key) and not _NO_WIDTH.fullmatch(key) and value >= _NARROWEST * self.width:
            return value // self.width
        return value


def _kept(settings: dict[str, Any], depth: int) -> list[int]:
    """Which of so many blocks are kept: the first of each kind, where lists say which that are; else those of a
    period, and the last."""
    lists = [value for value in settings.values() if isinstance(value, list) and len(value) == depth]
    first: dict[str, int] = {}
    for block, kind in enumerate(zip(*lists, strict=True)):
        first.setdefault(repr(kind), block)
    periods = [value for key, value in settings.items() if _PERIOD.fullmatch(key) and isinstance(value, int)]
    kinds = len(first) if len(first) > 1 else min(depth, max([_FEWEST, *periods]))
    if kinds > _MOST:
        raise WiringMismatch(f"its blocks are of more than {_MOST} kinds")
    if len(first) > 1:
        return [*first.values()]
    return [*range(kinds - 1), depth - 1] if depth > 0 else []
