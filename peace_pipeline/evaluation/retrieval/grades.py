"""The grades of relevance: the same function in disguise, the same task in another training run, a related task, and
the same profile on diagnostic inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.baselines.registry import Similarity
from peace_pipeline.evaluation.metrics import retrieve
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.readings import Vectors
from peace_pipeline.evaluation.retrieval.results import (
    ACROSS,
    ALL,
    DISGUISED,
    SEEN,
    UNSEEN,
    WITHIN,
    Grade,
)
from peace_pipeline.zoo.listing import Listing
from peace_pipeline.zoo.trained import task_similarity

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]
Gains = NDArray[np.float64]
ALIKE = 0.6
"""Cohen's κ above which two networks have the same profile: "substantial agreement" (Landis and Koch 1977)."""


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
    return Grade("same_function", scopes, seed, _runs(asking))


def same_task(
    members: Sequence[Member],
    queries: Places,
    similarities: Mapping[str, Similarity],
    seed: int,
    *,
    disguised: Mapping[str, Similarity] | None = None,
    seen: Mask | None = None,
) -> Grade:
    """The ``queries`` (rows) look for networks of their task in other training runs (columns are all members).

    Networks trained on shuffled labels are relevant to nobody and ask nothing. The query's own run is no part of
    its gallery. Scopes: the gallery's networks of the query's own architecture, of others, of each architecture alone
    (queries and gallery); queries in disguise (by the similarities ``disguised``); queries whose task the encoder
    learned from, and others (``seen`` of the members).
    """
    listings = [member.listing for member in members]
    asking = [members[place] for place in queries]
    relevant, excluded = relevance([listings[place] for place in queries], listings)
    architectures = np.array([member.architecture for member in members])
    same = architectures[queries][:, None] == architectures
    scopes = {
        scope: {name: retrieve(matrix, relevant, out, seed=seed) for name, matrix in compared.items()}
        for scope, compared, out in (
            (ALL, similarities, excluded),
            (WITHIN, similarities, excluded | ~same),
            (ACROSS, similarities, excluded | same),
            (DISGUISED, disguised or {}, excluded),
        )
        if compared and (relevant & ~out).any()
    }
    parts = {name: (WITHIN, architectures[queries] == name) for name in sorted(set(architectures))}
    if seen is not None:
        parts |= {SEEN: (ALL, seen[queries]), UNSEEN: (ALL, ~seen[queries])}
    for scope, (of, rows) in parts.items():
        scored = {name: scores.of(rows) for name, scores in scopes.get(of, {}).items()}
        if any(len(scores.queries) for scores in scored.values()):
            scopes[scope] = scored
    return Grade("same_task", scopes, seed, _runs(asking))


def related_task(
    members: Sequence[Member], queries: Places, similarities: Mapping[str, Similarity], seed: int
) -> Grade:
    """The ``queries`` look for networks of their task and of related ones in other runs; the gain of each is how
    similar the tasks are. Without a scope where no two tasks of the zoo are related."""
    listings = [member.listing for member in members]
    asking = [listings[place] for place in queries]
    gains, excluded = task_gains(asking, listings), relevance(asking, listings)[1]
    related = (gains > 0) & (gains < 1) & ~excluded
    scores = partial(retrieve, relevant=gains, excluded=excluded, seed=seed)
    scopes = {ALL: {name: scores(matrix) for name, matrix in similarities.items()}} if related.any() else {}
    return Grade("related_task", scopes, seed, _runs([members[place] for place in queries]))


def same_profile(
    members: Sequence[Member],
    queries: Places,
    similarities: Mapping[str, Similarity],
    answers: Sequence[Vectors],
    seed: int,
) -> Grade:
    """The ``queries`` look for networks of other runs that answer the probes as they do; the gain of each is how far
    the two agree (Cohen's κ of the classes that they name), where that is substantial.

    ``answers`` of the members are as :func:`peace_pipeline.evaluation.baselines.responses.probabilities` reads them.
    """
    listings = [member.listing for member in members]
    _, excluded = relevance([listings[place] for place in queries], listings)
    kappa = agreement([answers[place] for place in queries], answers)
    gains = np.where(kappa > ALIKE, kappa, 0)
    scores = partial(retrieve, relevant=gains, excluded=excluded, seed=seed)
    some = ((gains > 0) & ~excluded).any()
    scopes = {ALL: {name: scores(matrix) for name, matrix in similarities.items()}} if some else {}
    return Grade("same_profile", scopes, seed, _runs([members[place] for place in queries]))


def relevance(queries: Sequence[Listing], gallery: Sequence[Listing]) -> tuple[Mask, Mask]:
    """Which pairs are truly of one task, and which are excluded as they are of one run: (queries, gallery)."""
    (task, run, real), (other_task, other_run, other_real) = (_labels(side) for side in (queries, gallery))
    relevant = (task[:, None] == other_task) & real[:, None] & other_real
    return relevant, run[:, None] == other_run


def task_gains(queries: Sequence[Listing], gallery: Sequence[Listing]) -> Gains:
    """How similar the tasks of two networks are (queries, gallery): as the trained zoo grades its tasks, elsewhere 1
    for the same and 0 for another; 0 for networks that didn't truly learn theirs."""
    (task, _, real), (other_task, _, other_real) = (_labels(side) for side in (queries, gallery))
    names, rows = np.unique(task, return_inverse=True)
    others, columns = np.unique(other_task, return_inverse=True)
    table = np.array([[_similarity(one, other) for other in others] for one in names])
    return table[rows][:, columns] * real[:, None] * other_real


def _similarity(task: str, other: str) -> float:
    try:
        return task_similarity(*(name.rpartition(" · ")[2] for name in (task, other)))
    except ValueError:  # no task of the trained zoo
        return float(task == other)


def agreement(queries: Sequence[Vectors], gallery: Sequence[Vectors]) -> Gains:
    """Cohen's κ (queries, gallery) of the classes that networks name for the same probes: 0 where they agree as often
    as by chance, and for networks that weren't run alike."""
    kappa = np.zeros((len(queries), len(gallery)))
    columns = _asked_alike(gallery)
    for way, rows in _asked_alike(queries).items():
        if way in columns:
            one, other = (
                _named([side[place] for place in places], way[1])
                for side, places in ((queries, rows), (gallery, columns[way]))
            )
            probes = one.shape[1]
            observed = one.reshape(len(one), -1) @ other.reshape(len(other), -1).T / probes
            expected = one.mean(1) @ other.mean(1).T
            kappa[np.ix_(rows, columns[way])] = (observed - expected) / np.maximum(1 - expected, 1e-9)
    return kappa


def _named(answers: Sequence[Vectors], outputs: int) -> NDArray[np.float32]:
    """1 for the class that a network names for a probe, else 0: (networks, probes, outputs)."""
    probabilities = np.stack(answers)[:, 2:].reshape(len(answers), -1, outputs)
    return np.eye(outputs, dtype=np.float32)[probabilities.argmax(2)]


def _asked_alike(answers: Sequence[Vectors]) -> dict[tuple[int, int], list[int]]:
    """Kind of input and number of outputs (two at least) → the places of the networks that were run so."""
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, vector in enumerate(answers):
        if vector.size and vector[1] > 1:
            places[int(vector[0]), int(vector[1])].append(place)
    return dict(places)


def _labels(listings: Sequence[Listing]) -> tuple[NDArray[np.str_], NDArray[np.str_], Mask]:
    """Task and run of each network, and whether it truly learned the task."""
    task = np.array([listing.task or "" for listing in listings], dtype=str)
    run = np.array([listing.run for listing in listings], dtype=str)
    real = np.array([not listing.shuffled_labels for listing in listings], dtype=bool) & (task != "")
    return task, run, real


def _runs(asking: Sequence[Member]) -> list[str]:
    return [member.listing.run for member in asking]
