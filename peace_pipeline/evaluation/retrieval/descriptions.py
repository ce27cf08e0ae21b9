"""Queries in words: a task, a dataset, how well a network does, or all of it, looked for in cards, and by the vectors
of what the words find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from peace_pipeline.evaluation.baselines.cards import blank, scored_by_words, telling_words
from peace_pipeline.evaluation.baselines.registry import Similarity
from peace_pipeline.evaluation.metrics import fused, retrieve
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.retrieval.results import ALL, Grade

TEXT, BLANKED, OF_HITS, JOINED, JOINED_BLANKED, CHANCE = (
    "words",
    "words_blanked",
    "vectors_of_hits",
    "words_and_vectors",
    "words_blanked_and_vectors",
    "by_chance",
)
TITLES = {
    TEXT: "BM25, full cards",
    BLANKED: "BM25, blanked cards",
    OF_HITS: "PEACE, from the best hits of the words",
    JOINED: "Both, full cards",
    JOINED_BLANKED: "Both, blanked cards",
    CHANCE: "Chance",
}
TASK, DATASET, PERFORMANCE, EVERYTHING = "task", "dataset", "performance", "all_of_it"
KINDS = {
    TASK: "the task",
    DATASET: "the dataset",
    PERFORMANCE: "the performance",
    EVERYTHING: "task, dataset and performance",
}
BRACKETS = ((0.0, 0.7, "below 70%"), (0.7, 0.9, "from 70% to 90%"), (0.9, 1.01, "of 90% or more"))
"""Accuracies from, to, and in words."""
HITS = 5
"""How many of the best hits of words stand for what is looked for."""


@dataclass(frozen=True)
class Description:
    """A query in words, of which kind it is, and the networks (members,) that it describes."""

    words: str
    kind: str
    relevant: NDArray[np.bool_]


def descriptions(members: Sequence[Member]) -> list[Description]:
    """Every task, dataset and bracket of accuracy of the members that truly learned theirs, each alone and all
    together: what describes some of them, but not all."""
    listings = [member.listing for member in members]
    real = np.array([not listing.shuffled_labels for listing in listings], dtype=bool)
    parts = [(listing.task or "").partition(" · ") for listing in listings]
    tasks, datasets = (np.array([_words(part[side]) for part in parts], dtype=str) for side in (0, 2))
    accuracies = np.array([np.nan if each.accuracy is None else each.accuracy for each in listings])
    brackets = np.full(len(members), "", dtype=object)
    for low, high, text in BRACKETS:
        brackets[(accuracies >= low) & (accuracies < high)] = text
    columns = {
        TASK: [task and f"a network for {task}" for task in tasks],
        DATASET: [dataset and f"a network trained on {dataset}" for dataset in datasets],
        PERFORMANCE: [bracket and f"a network with an accuracy {bracket}" for bracket in brackets],
        EVERYTHING: [
            task and dataset and bracket and f"{task} on {dataset} with an accuracy {bracket}"
            for task, dataset, bracket in zip(tasks, datasets, brackets, strict=True)
        ],
    }
    found = []
    for kind, column in columns.items():
        for words in sorted({words for words in column if words}):
            relevant = (np.array(column, dtype=str) == words) & real
            if relevant.any() and not relevant.all():
                found.append(Description(words, kind, relevant))
    return found


def by_description(members: Sequence[Member], vectors: NDArray[np.floating], seed: int) -> Grade:
    """Queries in words look for the networks that they describe, in cards and by PEACE's unit ``vectors``."""
    asked = descriptions(members)
    if not asked:
        return Grade("description", {}, seed, ())
    relevant = np.stack([each.relevant for each in asked])
    compared = _similarities([each.words for each in asked], members, vectors)
    scored = {name: retrieve(matrix, relevant, seed=seed) for name, matrix in compared.items()}
    kinds = np.array([each.kind for each in asked])
    parts = {ALL: np.ones(len(asked), dtype=bool)} | {kind: kinds == kind for kind in KINDS}
    scopes = {
        scope: {name: scores.of(rows) for name, scores in scored.items()}
        for scope, rows in parts.items()
        if rows.any()
    }
    return Grade("description", scopes, seed, [each.words for each in asked])


def _similarities(
    queries: Sequence[str], members: Sequence[Member], vectors: NDArray[np.floating]
) -> dict[str, Similarity]:
    cards = [member.listing.card for member in members]
    told = telling_words(cards)
    full = scored_by_words(queries, cards)
    blanked = scored_by_words(queries, [blank(card, told) for card in cards])
    near, near_blanked = (near_hits(words, vectors) for words in (full, blanked))
    return {
        TEXT: full,
        BLANKED: blanked,
        OF_HITS: near,
        JOINED: fused(full, near),
        JOINED_BLANKED: fused(blanked, near_blanked),
        CHANCE: np.zeros_like(full),
    }


def near_hits(words: Similarity, vectors: NDArray[np.floating]) -> Similarity:
    """Cosine to the mean of the vectors of each query's best hits (queries, gallery), as far as there are any."""
    best = np.argsort(-words, axis=1, kind="stable")[:, :HITS]
    hit = np.isfinite(np.take_along_axis(words, best, 1))
    return normalize((vectors[best] * hit[:, :, None]).sum(1)) @ vectors.T


def _words(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")
