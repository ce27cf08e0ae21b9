"""Classifiers of the task of a network, learned from training networks: two networks are as alike as they are probably
of one task."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from peace_pipeline.evaluation.baselines.flattened import values
from peace_pipeline.evaluation.baselines.registry import Similarity, baseline
from peace_pipeline.evaluation.population import Cohort
from peace_pipeline.evaluation.readings import Readings

PERCENTILES = (1, 25, 50, 75, 99)
HIDDEN, ROUNDS = 64, 60


class Classifier(Protocol):
    """A fitted classifier, as scikit-learn has them."""

    classes_: NDArray[np.str_]


Fit = Callable[[NDArray[np.floating], list[str]], Classifier | None]
"""Fits vectors (networks, length) and their tasks; ``None`` where these are too few."""


def moments(cohort: Cohort) -> NDArray[np.float64]:
    """Eight measures of each layer's values, and of their differences along the last axis: (networks, 16 · tensors).

    Mean, variance, skewness and five percentiles, as the meta-classifiers of Eilertsen et al. (2020),
    https://arxiv.org/abs/2002.05688, have them of weights and of the gradients of filters.
    """
    found = []
    for wired in cohort.stack.wiring.layers:
        for name in wired.layer.tensors.values():
            tensor = cohort.stack.tensors[name].numpy().astype(np.float64)
            found += [_measures(tensor), _measures(np.diff(tensor, axis=-1))]
    return np.concatenate(found, 1)


def _measures(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """(networks, …) → (networks, 8); zeros where there are no values."""
    flat = tensor.reshape(len(tensor), -1)
    if not flat.shape[1]:
        return np.zeros((len(flat), 8))
    mean, std = flat.mean(1), flat.std(1)
    skewness = ((flat - mean[:, None]) ** 3).mean(1) / np.maximum(std, 1e-12) ** 3
    return np.stack([mean, std**2, skewness, *np.percentile(flat, PERCENTILES, axis=1)], 1)


@baseline("Meta-classifier (Eilertsen et al.)", reads=moments)
def meta_classifier(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Probability that two networks are of one task, by a support vector machine on eight measures of each layer's
    weights and of their differences, one for each signature."""
    return same_task_probability(
        queries, gallery, train, lambda vectors, tasks: _fitted(SVC(C=10), vectors, tasks)
    )


@baseline("Flattened weights, MLP", reads=values)
def flattened_mlp(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Probability that two networks are of one task, by an MLP with 64 hidden units on all weights in one vector (of
    more than 16,384 so many at even distances), standardised, one for each signature."""

    def fit(vectors: NDArray[np.floating], tasks: list[str]) -> Classifier | None:
        return _fitted(MLPClassifier((HIDDEN,), max_iter=ROUNDS, random_state=0), vectors, tasks)

    return same_task_probability(queries, gallery, train, fit)


def _fitted(
    classifier: SVC | MLPClassifier, vectors: NDArray[np.floating], tasks: list[str]
) -> Classifier | None:
    if len(set(tasks)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), classifier).fit(vectors, tasks)


def labelled(train: Readings) -> Readings:
    """Those that are known to be trained for a task."""
    known = [
        place
        for place, member in enumerate(train.members)
        if member.listing.task and not member.listing.shuffled_labels
    ]
    return train.select(known)


def tasks_of(readings: Readings) -> list[str]:
    """The task of each network."""
    return [member.listing.task or "" for member in readings.members]


def same_task_probability(queries: Readings, gallery: Readings, train: Readings, fit: Fit) -> Similarity:
    """Probability (queries, gallery) that two networks are of one task, by one classifier for each signature: it
    compares any two networks of signatures that it was fitted on."""
    learned = labelled(train)
    tasks = sorted(set(tasks_of(learned)))
    if not tasks:
        return np.full((len(queries), len(gallery)), -np.inf)
    known = {}
    for signature, places in learned.by_signature().items():
        alike = learned.select(places)
        known[signature] = fit(alike.matrix, tasks_of(alike))
    query, target = (_probabilities(readings, known, tasks) for readings in (queries, gallery))
    similarity = query @ target.T
    return np.where(np.isnan(similarity), -np.inf, similarity)


def _probabilities(
    readings: Readings, known: dict[str, Classifier | None], tasks: list[str]
) -> NDArray[np.float64]:
    """Probabilities (networks, tasks); NaN for signatures without a classifier."""
    probabilities = np.full((len(readings), len(tasks)), np.nan)
    for signature, rows in readings.by_signature().items():
        classifier = known.get(signature)
        if classifier is not None:
            columns = [tasks.index(task) for task in classifier.classes_]
            probabilities[rows] = 0.0
            probabilities[np.ix_(rows, columns)] = _of_classes(classifier, readings.select(rows).matrix)
    return probabilities


def _of_classes(classifier: Classifier, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities (networks, classes): where a classifier gives none, the softmax of its scores."""
    if hasattr(classifier, "predict_proba"):
        return classifier.predict_proba(vectors)
    scores = classifier.decision_function(vectors)  # type: ignore[attr-defined]
    return softmax(scores if scores.ndim == 2 else np.stack([-scores, scores], 1), axis=1)
