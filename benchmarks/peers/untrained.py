"""Peers that are not trained by gradients: similarities (queries, gallery) of networks by place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from peace_pipeline.evaluation.baselines.registry import Knows, all_baselines

from .features import hyperparameters
from .zoo import SENSES, Places, Zoo

Similarity = NDArray[np.float64]
Compared = Callable[[Places, Places], Similarity]
BLOCK = 1 << 26
PEERS_HERE = ("meta_classifier", "flattened_mlp", "autoencoder")
"""Baselines of the product that peers of their own, trained for longer, stand for."""


def cosine(vectors: NDArray[np.floating], queries: Places, gallery: Places) -> Similarity:
    """Cosine of vectors (networks, dimension); −∞ where one of the two is missing (NaN)."""
    found = vectors[queries].astype(np.float64), vectors[gallery].astype(np.float64)
    query, other = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-30) for each in found)
    similarity = query @ other.T
    return np.where(np.isnan(similarity), -np.inf, similarity)


class Answers:
    """The raw responses of a zoo, compared within each kind of input in three ways."""

    def __init__(self, zoo: Zoo) -> None:
        self.size = len(zoo)
        kinds = {kind for kind, _ in zoo.responses.values()}
        self.kinds = {
            kind: np.array(sorted(place for place, one in zoo.responses.items() if one[0] == kind))
            for kind in sorted(kinds)
        }
        self.outputs = {
            kind: _padded([zoo.responses[place][1] for place in places])
            for kind, places in self.kinds.items()
        }

    def softmax(self, queries: Places, gallery: Places) -> Similarity:
        """Cosine of the softmax outputs over all probes, less their mean over networks."""
        return self._each(queries, gallery, self.probabilities)

    def roots(self, queries: Places, gallery: Places) -> Similarity:
        """Cosine of the square roots of the softmax outputs, each network's centred over its own probes."""
        return self._each(queries, gallery, self._rooted)

    def logits(self, queries: Places, gallery: Places) -> Similarity:
        """Cosine of the logits, centred over probes and over outputs."""
        return self._each(queries, gallery, self._centred)

    def probelog(self, queries: Places, gallery: Places) -> Similarity:
        """Mean over outputs, of both networks, of the best correlation with an output of the other.

        A descriptor an output, as ProbeLog (Kahana et al. 2025, https://arxiv.org/abs/2502.09619) has it.
        """
        return self._each(queries, gallery, self._descriptors, self._matched)

    def _each(
        self,
        queries: Places,
        gallery: Places,
        seen: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        compared: Callable[[NDArray[np.float32], NDArray[np.float32]], Similarity] | None = None,
    ) -> Similarity:
        """Similarities within each kind of input; −∞ between kinds, and where a network wasn't run."""
        similarity = np.full((len(queries), len(gallery)), -np.inf)
        for kind, places in self.kinds.items():
            vectors = seen(self.outputs[kind])
            row = np.full(self.size, -1)
            row[places] = np.arange(len(places))
            rows, columns = np.flatnonzero(row[queries] >= 0), np.flatnonzero(row[gallery] >= 0)
            if len(rows) and len(columns):
                a, b = vectors[row[queries[rows]]], vectors[row[gallery[columns]]]
                similarity[np.ix_(rows, columns)] = compared(a, b) if compared else _unit(a) @ _unit(b).T
        return similarity

    @staticmethod
    def probabilities(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax of outputs (networks, probes, outputs), less their mean over networks: (networks, …)."""
        probabilities = softmax(np.where(np.isnan(outputs), -np.inf, outputs), axis=2).reshape(
            len(outputs), -1
        )
        return probabilities - probabilities.mean(0)

    @staticmethod
    def _rooted(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        roots = np.sqrt(softmax(np.where(np.isnan(outputs), -np.inf, outputs), axis=2))
        return (roots - roots.mean(1, keepdims=True)).reshape(len(outputs), -1)

    @staticmethod
    def _centred(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        centred = outputs - outputs.mean(1, keepdims=True)
        centred = centred - np.nanmean(centred, 2, keepdims=True)
        return np.nan_to_num(centred).reshape(len(outputs), -1)

    @staticmethod
    def _descriptors(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(networks, probes, outputs) → (networks, outputs, probes) of unit norm; NaN where there is no such output."""
        centred = outputs.transpose(0, 2, 1) - outputs.mean(1)[:, :, None]
        return centred / np.maximum(np.linalg.norm(centred, axis=2, keepdims=True), 1e-12)

    @staticmethod
    def _matched(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> Similarity:
        size, length = queries.shape[1:]
        missing = np.isnan(gallery[:, :, 0])
        flat = np.nan_to_num(gallery).reshape(-1, length).T
        found = []
        for part in np.array_split(queries, max(1, len(queries) * size * flat.shape[1] // BLOCK)):
            absent = np.isnan(part[:, :, 0])
            alike = (np.nan_to_num(part).reshape(-1, length) @ flat).reshape(len(part), size, -1, size)
            alike[absent] = -np.inf
            alike[:, :, missing] = -np.inf
            there, back = alike.max(3), alike.max(1)
            there[np.isinf(there)], back[np.isinf(back)] = np.nan, np.nan
            found.append((np.nanmean(there, 1) + np.nanmean(back, 2)) / 2)
        return np.concatenate(found).astype(np.float64)


def _padded(outputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Outputs (probes, outputs) of networks as one array, with NaN where one has fewer outputs than another."""
    padded = np.full(
        (len(outputs), len(outputs[0]), max(one.shape[1] for one in outputs)), np.nan, np.float32
    )
    for row, one in zip(padded, outputs, strict=True):
        row[:, : one.shape[1]] = one
    return padded


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def of_peace(zoo: Zoo) -> dict[str, Compared]:
    """PEACE's vectors of each sense that the lake holds."""
    return {SENSES[column]: partial(cosine, vectors) for column, vectors in zoo.senses.items()}


def of_responses(zoo: Zoo) -> dict[str, Compared]:
    """Raw responses."""
    answers = Answers(zoo)
    return {
        "raw responses, softmax": answers.softmax,
        "raw responses, roots of softmax": answers.roots,
        "raw responses, logits": answers.logits,
        "raw responses, ProbeLog": answers.probelog,
    }


def of_registry(zoo: Zoo, train: Places) -> dict[str, Compared]:
    """The product's own baselines that read weights, which learn from the networks at ``train``."""

    def compared(name: str, queries: Places, gallery: Places) -> Similarity:
        readings = zoo.readings[name]
        chosen = (readings.select(places) for places in (queries, gallery, train))
        return all_baselines()[name].similarity(*chosen)

    return {
        one.title: partial(compared, name)
        for name, one in all_baselines().items()
        if one.knows == Knows.WEIGHTS and name not in PEERS_HERE
    }


def of_classifiers(zoo: Zoo, train: Places) -> dict[str, Compared]:
    """Task classifiers: similarity is the probability that two networks are of one task."""
    statistics, eight = (zoo.readings[name].vectors for name in ("statistics", "moments"))
    settings = list(hyperparameters([zoo.records[one.model_id] for one in zoo.members]))
    alike, everyone = list(zoo.signatures.values()), [np.arange(len(zoo))]
    return {
        "Layer statistics + boosting": TaskClassifier(zoo, train, statistics, alike, boosting).compared,
        "Meta-classifier (Eilertsen et al.)": TaskClassifier(zoo, train, eight, alike, machine).compared,
        "Hyperparameters alone": TaskClassifier(zoo, train, settings, everyone, boosting).compared,
    }


def boosting() -> ClassifierMixin:
    """Gradient-boosted trees."""
    return HistGradientBoostingClassifier(max_iter=50, min_samples_leaf=4, random_state=0)


def machine() -> ClassifierMixin:
    """A support vector machine with Gaussian kernel on standardised features."""
    return make_pipeline(StandardScaler(), SVC(C=10))


class TaskClassifier:
    """Task probabilities by one classifier of vectors for each of the ``groups`` of places."""

    def __init__(
        self,
        zoo: Zoo,
        train: Places,
        vectors: Sequence[NDArray[np.floating]],
        groups: Sequence[Places],
        make: Callable[[], ClassifierMixin],
    ) -> None:
        self.zoo, self.vectors, self.groups, self.make = zoo, vectors, groups, make
        real = np.array([not one.shuffled_labels for one in zoo.members])
        self.train = train[real[train]]

    def compared(self, queries: Places, gallery: Places) -> Similarity:
        """Probability (queries, gallery) that two networks are of one task; −∞ where one has no classifier."""
        similarity = self.probabilities[queries] @ self.probabilities[gallery].T
        return np.where(np.isnan(similarity), -np.inf, similarity)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(networks, tasks); NaN where a network's group has fewer than two tasks to learn."""
        tasks = np.unique(self.zoo.tasks)
        found = np.full((len(self.zoo), len(tasks)), np.nan)
        for places in self.groups:
            known = np.intersect1d(places, self.train)
            labels = self.zoo.tasks[known]
            if len(set(labels)) > 1:
                matrix = np.stack([self.vectors[place] for place in places])
                fitted = self.make().fit(matrix[np.searchsorted(places, known)], labels)
                found[places] = 0
                columns = np.searchsorted(tasks, fitted.classes_)
                found[np.ix_(places, columns)] = _probabilities(fitted, matrix)
        return found


def _probabilities(fitted: ClassifierMixin, matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of the classes (networks, classes): where a classifier gives none, the softmax of its scores."""
    if hasattr(fitted, "predict_proba"):
        return fitted.predict_proba(matrix)
    scores = fitted.decision_function(matrix)
    return softmax(scores if scores.ndim == 2 else np.stack([-scores, scores], 1), axis=1)
