"""Statistics of each layer's weights, and a task classifier on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from peace_pipeline.evaluation.baselines.classifiers import labelled, same_task_probability, tasks_of
from peace_pipeline.evaluation.baselines.registry import Similarity, baseline, within_signature
from peace_pipeline.evaluation.population import Cohort, in_canonical_form
from peace_pipeline.evaluation.readings import Readings

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def features(cohort: Cohort) -> NDArray[np.float64]:
    """Mean, standard deviation and quantiles of each layer's weights and biases: (networks, 7 · tensors).

    The features of Unterthiner et al. (2020), https://arxiv.org/abs/2002.11448.
    """
    flat = (values.astype(np.float64) for values in cohort.flat)
    found = ([x.mean(1), x.std(1), *np.quantile(x, QUANTILES, axis=1)] for x in flat)
    return np.stack([column for columns in found for column in columns], 1)


def canonical_features(cohort: Cohort) -> NDArray[np.float64]:
    """The same of the scale-canonical form."""
    return features(in_canonical_form(cohort))


@baseline("Layer statistics", reads=features)
@within_signature
def statistics(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of layer statistics, standardised on the training split (or the gallery where it has no such network)."""
    scaler = StandardScaler().fit((train or gallery).matrix)
    return cosine_similarity(scaler.transform(queries.matrix), scaler.transform(gallery.matrix))


@baseline("Layer statistics, scale-canonical", reads=canonical_features)
def statistics_canonical(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """The same statistics of the scale-canonical form: like PEACE, blind to permutation and scaling."""
    return statistics(queries, gallery, train)


@baseline("Layer statistics + LDA", reads=features)
@within_signature
def statistics_lda(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of layer statistics in the discriminant space of the tasks of the training split."""
    learned = labelled(train)
    discriminant = _discriminant(learned.matrix, tasks_of(learned)) if len(learned) else None
    if discriminant is None:
        return statistics(queries, gallery, train)
    return cosine_similarity(discriminant.transform(queries.matrix), discriminant.transform(gallery.matrix))


@baseline("Layer statistics + LDA task probabilities", reads=features)
def statistics_lda_tasks(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Probability that two networks are of one task, by one LDA of layer statistics for each signature.

    A task classifier on labelled training networks: it compares any two networks of signatures that it was
    fitted on. The tasks of the training split are all that it knows.
    """
    return same_task_probability(queries, gallery, train, _discriminant)


def _discriminant(vectors: NDArray[np.floating], tasks: list[str]) -> Pipeline | None:
    """LDA with Ledoit-Wolf shrinkage on standardised statistics; ``None`` for fewer than two tasks, or too few networks
    to tell how much those of one task differ."""
    if len(set(tasks)) < 2 or len(tasks) <= len(set(tasks)):
        return None
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    try:
        return make_pipeline(StandardScaler(), discriminant).fit(vectors, tasks)
    except np.linalg.LinAlgError:
        return None
