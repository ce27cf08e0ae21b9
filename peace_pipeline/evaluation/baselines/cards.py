"""Retrieval by model cards: what a text search finds, with full cards and with the telling words blanked."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import yaml
from lancedb.index import FTS
from lancedb.query import MatchQuery

from peace_pipeline.evaluation.baselines.registry import Similarity, baseline
from peace_pipeline.evaluation.population import Population

_WORD = re.compile(r"[^\W_]+")
_FRONT_MATTER = re.compile(r"\s*---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TELLING = ("pipeline_tag", "task", "datasets", "dataset", "tags", "labels", "id2label")


@baseline("BM25, full cards", weights_only=False)
def bm25(queries: Population, gallery: Population, train: Population) -> Similarity:
    """BM25 of the query's card over the cards of the gallery, by LanceDB's full-text search."""
    return _bm25(_cards(queries), _cards(gallery))


@baseline("BM25, blanked cards", weights_only=False)
def bm25_blanked(queries: Population, gallery: Population, train: Population) -> Similarity:
    """The same over cards without front matter and without any word that names a task, dataset, tag or label."""
    cards = _cards(queries) + _cards(gallery)
    words = telling_words(cards)
    blanked = [blank(card, words) for card in cards]
    return _bm25(blanked[: len(queries)], blanked[len(queries) :])


def _cards(population: Population) -> list[str]:
    return [member.listing.card for member in population.members]


def _bm25(queries: Sequence[str], cards: Sequence[str]) -> Similarity:
    """Scores (queries, cards); ``-inf`` where no word is shared."""
    similarity = np.full((len(queries), len(cards)), -np.inf)
    with tempfile.TemporaryDirectory() as folder:
        table = lancedb.connect(folder).create_table(
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
    names = (name for card in cards for name in _names(_parsed(_parted(card)[0])))
    return {_stem(word) for name in names for word in _WORD.findall(name)}


def blank(card: str, words: set[str]) -> str:
    """The card's text without its front matter and without ``words``, in the singular or the plural."""
    return _WORD.sub(lambda match: "" if _stem(match[0]) in words else match[0], _parted(card)[1])


def _stem(word: str) -> str:
    return word.lower().rstrip("s")


def _parted(card: str) -> tuple[str, str]:
    """The front matter (empty where there is none) and the text below it."""
    found = _FRONT_MATTER.match(card)
    return (found[1], card[found.end() :]) if found else ("", card)


def _parsed(front_matter: str) -> Any:
    """The YAML document, ``None`` where it can't be read."""
    try:
        return yaml.load(front_matter, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _names(front_matter: Any) -> Iterator[str]:
    """Every text at any depth under a key that says what a model is for.

    Each container is visited once, so YAML aliases that nest or loop cost nothing.
    """
    pending, visited = [(front_matter, False)], set()
    while pending:
        value, telling = pending.pop()
        if isinstance(value, str) and telling:
            yield value
        if not isinstance(value, dict | list) or (id(value), telling) in visited:
            continue
        visited.add((id(value), telling))
        if isinstance(value, dict):
            pending += [(item, telling or key in _TELLING) for key, item in value.items()]
        else:
            pending += [(item, telling) for item in value]
