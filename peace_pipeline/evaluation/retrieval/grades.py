"""The two grades of retrieval: the same function in disguise, and the same task in another training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.baselines.registry import Similarity
from peace_pipeline.evaluation.metrics import retrieve
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.retrieval.results import ALL, Grade
from peace_pipeline.zoo.listing import Listing

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


def same_function(
    members: Sequence[Member], queries: Places, similarities: Mapping[str, Similarity], seed: int
) -> Grade:
    """The disguised ``queries`` (rows; their places among the members) look for their originals among all (columns).

    Networks without known symmetries cannot be disguised: they are in the gallery only. Scopes are parts of the
    queries, by architecture and by how they were wired; the gallery is always whole.
    """
    own = queries[:, None] == np.arange(len(members))
    asking = [members[place] for place in queries]
    asks = np.array([member.acted_on for member in asking])
    scored = {name: retrieve(matrix, own & asks[:, None], seed=seed) for name, matrix in similarities.items()}
    parts = {ALL: asks}
    for prefix, labels in (
        ("", [member.architecture for member in asking]),
        ("wiring_", [member.wiring.method for member in asking]),
    ):
        parts |= {f"{prefix}{label}": asks & (np.array(labels) == label) for label in sorted(set(labels))}
    scopes = {
        scope: {name: scores.of(rows) for name, scores in scored.items()}
        for scope, rows in parts.items()
        if rows.any()
    }
    return Grade("same_function", scopes, seed)


def same_task(
    members: Sequence[Member], queries: Places, similarities: Mapping[str, Similarity], seed: int
) -> Grade:
    """The ``queries`` (rows) look for networks of their task in other training runs (columns are all members).

    Networks trained on shuffled labels are relevant to nobody and ask nothing. The query's own run is no part of
    its gallery. In the scope of an architecture, queries and gallery are both of that architecture.
    """
    listings = [member.listing for member in members]
    relevant, excluded = relevance([listings[place] for place in queries], listings)
    architectures = np.array([member.architecture for member in members])
    everything = np.ones(len(members), dtype=bool)
    parts = {ALL: everything} | {name: architectures == name for name in sorted(set(architectures))}
    scopes = {}
    for scope, columns in parts.items():
        cut = np.ix_(columns[queries], columns)
        if (relevant & ~excluded)[cut].any():
            scopes[scope] = {
                name: retrieve(matrix[cut], relevant[cut], excluded[cut], seed=seed)
                for name, matrix in similarities.items()
            }
    return Grade("same_task", scopes, seed)


def relevance(queries: Sequence[Listing], gallery: Sequence[Listing]) -> tuple[Mask, Mask]:
    """Which pairs are truly of one task, and which are excluded as they are of one run: (queries, gallery)."""
    (task, run, real), (other_task, other_run, other_real) = (_labels(side) for side in (queries, gallery))
    relevant = (task[:, None] == other_task) & real[:, None] & other_real
    return relevant, run[:, None] == other_run


def _labels(listings: Sequence[Listing]) -> tuple[NDArray[np.str_], NDArray[np.str_], Mask]:
    """Task and run of each network, and whether it truly learned the task."""
    task = np.array([listing.task or "" for listing in listings], dtype=str)
    run = np.array([listing.run for listing in listings], dtype=str)
    real = np.array([not listing.shuffled_labels for listing in listings], dtype=bool) & (task != "")
    return task, run, real
