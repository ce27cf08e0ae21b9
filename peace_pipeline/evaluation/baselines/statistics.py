"""Statistics of each layer's weights, and a task classifier on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from peace_pipeline.evaluation.baselines.registry import (
    Members,
    Similarity,
    baseline,
    ordered_tensors,
    places_by_signature,
    within_signature,
)
from peace_pipeline.evaluation.population import Member, in_canonical_form

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


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
    flat = [values.double().numpy().ravel() for values in ordered_tensors(member)]
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
        signature: _discriminant([train[i] for i in places])
        for signature, places in places_by_signature(train).items()
    }
    query, target = (_probabilities(members, known, tasks) for members in (queries, gallery))
    similarity = query @ target.T
    return np.where(np.isnan(similarity), -np.inf, similarity)


def _probabilities(
    members: Members, known: dict[str, Pipeline | None], tasks: list[str]
) -> NDArray[np.float64]:
    """Probabilities (members, tasks); NaN for signatures without a classifier."""
    probabilities = np.full((len(members), len(tasks)), np.nan)
    for signature, places in places_by_signature(members).items():
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
