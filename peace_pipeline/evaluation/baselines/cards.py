"""Retrieval by model cards: what a text search finds, with full cards and with the telling words blanked."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.index import FTS
from lancedb.query import MatchQuery

from peace_pipeline.evaluation.baselines.registry import Knows, Similarity, baseline
from peace_pipeline.evaluation.readings import Readings
from peace_pipeline.lake.lance import connect
from peace_pipeline.zoo.card import parted

_WORD = re.compile(r"[^\W_]+")
_TELLING = ("pipeline_tag", "task", "datasets", "dataset", "tags", "labels", "id2label")


@baseline("BM25, full cards", knows=Knows.CARDS)
def bm25(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """BM25 of the query's card over the cards of the gallery, by LanceDB's full-text search."""
    return scored_by_words(_cards(queries), _cards(gallery))


@baseline("BM25, blanked cards", knows=Knows.CARDS)
def bm25_blanked(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """The same over cards without front matter and without any word that names a task, dataset, tag or label."""
    cards = _cards(queries) + _cards(gallery)
    words = telling_words(cards)
    blanked = [blank(card, words) for card in cards]
    return scored_by_words(blanked[: len(queries)], blanked[len(queries) :])


def _cards(readings: Readings) -> list[str]:
    return [member.listing.card for member in readings.members]


def scored_by_words(queries: Sequence[str], cards: Sequence[str]) -> Similarity:
    """BM25 of each query's words over the cards: scores (queries, cards); ``-inf`` where no word is shared."""
    similarity = np.full((len(queries), len(cards)), -np.inf)
    with tempfile.TemporaryDirectory() as folder:
        table = connect(Path(folder)).create_table(
            "cards", pa.table({"place": range(len(cards)), "card": pa.array(cards, pa.string())})
        )
        table.create_index("card", config=FTS(with_position=False))
        for row, text in enumerate(queries):
            if _WORD.search(text):
                hits = table.search(MatchQuery(text, "card")).select(["place", "_score"]).limit(len(cards))
                for hit in hits.to_list():
                    similarity[row, hit["place"]] = hit["_score"]
    return similarity


def telling_words(cards: Sequence[str]) -> set[str]:
    """Words of all tasks, datasets, tags and labels that the front matter of ``cards`` names."""
    names = (name for card in cards for name in _names(parted(card)[0]))
    return {_stem(word) for name in names for word in _WORD.findall(name)}


def blank(card: str, words: set[str]) -> str:
    """The card's text without its front matter and without ``words``, in the singular or the plural."""
    return _WORD.sub(lambda match: "" if _stem(match[0]) in words else match[0], parted(card)[1])


def _stem(word: str) -> str:
    return word.lower().rstrip("s")


def _names(metadata: Any, telling: bool = False) -> Iterator[str]:
    """Every text at any depth under a key that says what a model is for."""
    if isinstance(metadata, str) and telling:
        yield metadata
    elif isinstance(metadata, dict):
        for key, value in metadata.items():
            yield from _names(value, telling or key in _TELLING)
    elif isinstance(metadata, list):
        for value in metadata:
            yield from _names(value, telling)
