"""What PEACE is compared with: a registry of ways to say how similar two networks are.

A method takes queries, gallery and the training split (all sequences of members) and gives similarities
(queries, gallery). ``-inf`` stands for pairs that it cannot compare: they rank below all others, in random order.
Unless a method says so, weights are read folded but otherwise as they were trained: on the trained zoo that was the
stronger form of most baselines, as scales tell of the training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from peace_pipeline.evaluation.population import Member, in_canonical_form

Members = Sequence[Member]
Similarity = NDArray[np.float64]
Method = Callable[[Members, Members, Members], Similarity]
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Baseline:
    """A registered method. ``weights_only``: it reads nothing but the weights of queries and gallery."""

    name: str
    title: str
    weights_only: bool
    similarity: Method


BASELINES: dict[str, Baseline] = {}


def baseline(title: str, *, weights_only: bool = True) -> Callable[[Method], Method]:
    """Decorator: register a method under its function's name."""

    def add(method: Method) -> Method:
        BASELINES[method.__name__] = Baseline(method.__name__, title, weights_only, method)
        return method

    return add


def within_signature(method: Method) -> Method:
    """Decorator: apply a method to each signature apart; networks of two signatures can't be compared."""

    @wraps(method)
    def apply(queries: Members, gallery: Members, train: Members) -> Similarity:
        similarity = np.full((len(queries), len(gallery)), -np.inf)
        rows, columns, known = (_places(members) for members in (queries, gallery, train))
        for signature in rows.keys() & columns.keys():
            row, column = rows[signature], columns[signature]
            similarity[np.ix_(row, column)] = method(
                [queries[i] for i in row],
                [gallery[i] for i in column],
                [train[i] for i in known.get(signature, [])],
            )
        return similarity

    return apply


def _places(members: Members) -> dict[str, list[int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, member in enumerate(members):
        places[member.wiring.signature].append(place)
    return places


@baseline("Flattened weights")
@within_signature
def flattened(queries: Members, gallery: Members, train: Members) -> Similarity:
    """Cosine of all weights in one vector. (Standardising each coordinate on the training split made it worse.)"""
    return cosine_similarity(_flat(queries), _flat(gallery))


def _flat(members: Members) -> NDArray[np.float32]:
    """Weights (members, values) of networks of one signature, in the order of the wiring."""
    return np.stack([np.concatenate([values.numpy().ravel() for values in _ordered(m)]) for m in members])


def _ordered(member: Member) -> list[torch.Tensor]:
    layers = member.wiring.folded.layers
    return [member.tensors[name] for layer in layers for name in layer.layer.tensors.values()]


@baseline("Layer statistics")
@within_signature
def statistics(queries: Members, gallery: Members, train: Members) -> Similarity:
    """Cosine of layer statistics, standardised on the training split (or the gallery where it has no such network)."""
    scaler = StandardScaler().fit(features(train or gallery))
    return cosine_similarity(scaler.transform(features(queries)), scaler.transform(features(gallery)))


def features(members: Members) -> NDArray[np.float64]:
    """Mean, standard deviation and quantiles of each layer's weights and biases: (members, 7 · tensors).

    The features of Unterthiner et al. (2020), https://arxiv.org/abs/2002.11448.
    """
    return np.stack([_features(member) for member in members])


def _features(member: Member) -> NDArray[np.float64]:
    flat = [values.double().numpy().ravel() for values in _ordered(member)]
    return np.concatenate([[x.mean(), x.std(), *np.quantile(x, QUANTILES)] for x in flat])


@baseline("Layer statistics, scale-canonical")
def statistics_canonical(queries: Members, gallery: Members, train: Members) -> Similarity:
    """The same statistics of the scale-canonical form: like PEACE, blind to permutation and scaling."""
    return statistics(*(in_canonical_form(members) for members in (queries, gallery, train)))


@baseline("Layer statistics + LDA")
@within_signature
def statistics_lda(queries: Members, gallery: Members, train: Members) -> Similarity:
    """Cosine of layer statistics in the discriminant space of the tasks of the training split."""
    discriminant = _discriminant(train)
    if discriminant is None:
        return statistics(queries, gallery, train)
    return cosine_similarity(
        discriminant.transform(features(queries)), discriminant.transform(features(gallery))
    )


@baseline("Layer statistics + LDA task probabilities")
def statistics_lda_tasks(queries: Members, gallery: Members, train: Members) -> Similarity:
    """Probability that two networks are of one task, by one LDA of layer statistics for each signature.

    A task classifier on labelled training networks: it compares any two networks of signatures that it was
    fitted on. The tasks of the training split are all that it knows.
    """
    tasks = sorted({member.network.task or "" for member in _labelled(train)})
    known = {
        signature: _discriminant([train[i] for i in places]) for signature, places in _places(train).items()
    }
    query, target = (_probabilities(members, known, tasks) for members in (queries, gallery))
    similarity = query @ target.T
    return np.where(np.isnan(similarity), -np.inf, similarity)


def _probabilities(
    members: Members, known: dict[str, Pipeline | None], tasks: list[str]
) -> NDArray[np.float64]:
    """Probabilities (members, tasks); NaN for signatures without a classifier."""
    probabilities = np.full((len(members), len(tasks)), np.nan)
    for signature, places in _places(members).items():
        discriminant = known.get(signature)
        if discriminant is not None:
            columns = [tasks.index(task) for task in discriminant.classes_]
            probabilities[places] = 0.0
            probabilities[np.ix_(places, columns)] = discriminant.predict_proba(
                features([members[i] for i in places])
            )
    return probabilities


def _labelled(members: Members) -> list[Member]:
    """Members that are known to be trained for a task."""
    return [member for member in members if member.network.task and not member.network.shuffled_labels]


def _discriminant(train: Members) -> Pipeline | None:
    """LDA with Ledoit-Wolf shrinkage on standardised statistics; ``None`` for fewer than two tasks."""
    labelled = _labelled(train)
    tasks = [member.network.task for member in labelled]
    if len(set(tasks)) < 2 or len(tasks) <= len(set(tasks)):
        return None
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    return make_pipeline(StandardScaler(), discriminant).fit(features(labelled), tasks)


@baseline("Shapes alone")
def shapes(queries: Members, gallery: Members, train: Members) -> Similarity:
    """1 where the signatures are equal, else 0."""
    rows, columns = ([member.wiring.signature for member in members] for members in (queries, gallery))
    return np.equal.outer(np.array(rows), np.array(columns)).astype(np.float64)


@baseline("Chance")
def chance(queries: Members, gallery: Members, train: Members) -> Similarity:
    """All pairs alike: the order is random."""
    return np.zeros((len(queries), len(gallery)))
