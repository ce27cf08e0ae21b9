"""The two grades of retrieval: the same function in disguise, and the same task in another training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.baselines.registry import Similarity, all_baselines
from peace_pipeline.evaluation.metrics import retrieve
from peace_pipeline.evaluation.population import Member, Population
from peace_pipeline.evaluation.retrieval.results import ALL, Grade

Mask = NDArray[np.bool_]


def same_function(members: Sequence[Member], similarities: dict[str, Similarity], seed: int) -> Grade:
    """Disguised networks (rows) look for their originals among all (columns).

    Networks without known symmetries cannot be disguised: they are in the gallery only. Scopes are parts of the
    queries, by architecture and by how they were wired; the gallery is always whole.
    """
    own = np.eye(len(members), dtype=bool)
    asks = np.array([member.acted_on for member in members])
    scored = {name: retrieve(matrix, own & asks[:, None], seed=seed) for name, matrix in similarities.items()}
    parts = {ALL: asks}
    for prefix, labels in (
        ("", [member.architecture for member in members]),
        ("wiring_", [member.wiring.method for member in members]),
    ):
        parts |= {f"{prefix}{label}": asks & (np.array(labels) == label) for label in sorted(set(labels))}
    scopes = {
        scope: {name: scores.of(rows) for name, scores in scored.items()}
        for scope, rows in parts.items()
        if rows.any()
    }
    return Grade("same_function", scopes, seed)


def same_task(members: Sequence[Member], similarities: dict[str, Similarity], seed: int) -> Grade:
    """Networks look for networks of their task in other training runs.

    Networks trained on shuffled labels are relevant to nobody and ask nothing. The query's own run is no part of
    its gallery. In the scope of an architecture, queries and gallery are both of that architecture.
    """
    relevant, excluded = relevance(members)
    architectures = np.array([member.architecture for member in members])
    everything = np.ones(len(members), dtype=bool)
    parts = {ALL: everything} | {name: architectures == name for name in sorted(set(architectures))}
    scopes = {}
    for scope, rows in parts.items():
        cut = np.ix_(rows, rows)
        if (relevant & ~excluded)[cut].any():
            scopes[scope] = {
                name: retrieve(matrix[cut], relevant[cut], excluded[cut], seed=seed)
                for name, matrix in similarities.items()
            }
    return Grade("same_task", scopes, seed)


def relevance(members: Sequence[Member]) -> tuple[Mask, Mask]:
    """Which pairs are truly of one task, and which are excluded as they are of one run: (members, members)."""
    task = np.array([member.listing.task or "" for member in members], dtype=str)
    run = np.array([member.listing.run for member in members], dtype=str)
    real = np.array([not member.listing.shuffled_labels for member in members], dtype=bool) & (task != "")
    return (task[:, None] == task) & real[:, None] & real, run[:, None] == run


def baseline_similarities(
    queries: Population,
    gallery: Population,
    train: Population,
    *,
    weights_only: bool,
    done: Callable[[], None],
) -> dict[str, Similarity]:
    """Similarities by every registered method (of those that read only weights)."""
    found = {}
    for name, method in all_baselines().items():
        if method.weights_only or not weights_only:
            found[name] = method.similarity(queries, gallery, train)
            done()
    return found
