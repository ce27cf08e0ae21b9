"""Prediction of the accuracy that a card reports: Kendall's τ_b over the test split of each architecture and task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from .features import hyperparameters
from .learning import AUTOENCODER, FEWEST, Accuracy, Pairs
from .methods import PEACE, Training, costs
from .scoring import Figure, Floats, figure, tau, tie_ceiling
from .tables import Cells, Table
from .untrained import Answers
from .zoo import SENSES, Places, Zoo

NOTE = (
    "Mean τ_b over cells (an architecture on a task, its networks of test runs) with 95% bootstrap intervals over "
    "cells; ± is half the range over seeds, in parentheses how much better PEACE does in the same cells. On vectors: "
    "boosting, ridge or a support vector machine, a signature, an architecture or all networks at a time, whichever is "
    "best on validation runs. The tie ceiling is what predictions without ties can reach."
)
CEILING = "tie ceiling"
Vectors = Sequence[NDArray[np.floating]] | NDArray[np.floating]
Grouping = list[Places]


def measure(zoo: Zoo, training: Training) -> list[Table]:
    """Of all methods over each architecture, and of each cell."""
    test = np.flatnonzero(zoo.splits == "test")
    truth = zoo.attributes.accuracy
    cells = {
        cell: places
        for cell, places in zoo.cells(test[np.isfinite(truth[test])]).items()
        if len(places) >= FEWEST and len(set(truth[places])) > 1
    }
    scores = {
        name: np.array([[_tau(truth, one, places) for places in cells.values()] for one in seeds])
        for name, seeds in _predictions(zoo, training).items()
    }
    trained = replace(training, peers=tuple(name for name in training.peers if name != AUTOENCODER))
    scores[CEILING] = np.array([[tie_ceiling(truth[places]) for places in cells.values()]])
    return [_by_architecture(scores, list(cells)), _each(scores, cells), costs(zoo, trained, Accuracy(zoo))]


def _tau(truth: Floats, predicted: Floats, places: Places) -> float:
    """τ_b of a cell; 0 where all predictions are one, NaN where one is missing."""
    if np.isnan(predicted[places]).any():
        return float("nan")
    return tau(truth[places], predicted[places]) if len(set(predicted[places])) > 1 else 0.0


def _predictions(zoo: Zoo, training: Training) -> dict[str, list[Floats]]:
    """Method → what each seed predicts of all networks; NaN where it can't."""
    alike, everyone = list(zoo.signatures.values()), [np.arange(len(zoo))]
    built_alike = [np.flatnonzero(zoo.architectures == name) for name in np.unique(zoo.architectures)]
    any_group = [alike, built_alike, everyone]
    together = {SENSES[column]: vectors for column, vectors in zoo.senses.items()}
    if len(together) > 1:
        together["PEACE, all its vectors"] = np.nan_to_num(np.hstack(list(zoo.senses.values())))
    tasks = (zoo.tasks[:, None] == np.unique(zoo.tasks)).astype(float)
    settings = hyperparameters([zoo.records[one.model_id] for one in zoo.members])
    read: dict[str, tuple[Vectors, list[Grouping]]] = {
        **{name: (vectors, any_group) for name, vectors in together.items()},
        "raw responses": (_compressed(zoo), any_group),
        "Layer statistics": (zoo.readings["statistics"].vectors, [alike]),
        "Meta-classifier's features (Eilertsen et al.)": (zoo.readings["moments"].vectors, [alike]),
        "Hyperparameters alone": (np.hstack([settings, tasks]), any_group),
    }
    found = {name: [regression(zoo, *each)] for name, each in read.items()}
    for name in training.peers:
        if name == AUTOENCODER:
            codes = training.learned(zoo, name, Pairs(zoo))
            found[name] = [regression(zoo, one.converged, [alike]) for one in codes]
        else:
            trained = training.learned(zoo, name, Accuracy(zoo))
            found[f"{name}, equal time"] = [one.equal[:, 0].astype(float) for one in trained]
            found[f"{name}, converged"] = [one.converged[:, 0].astype(float) for one in trained]
    return found


def _compressed(zoo: Zoo, size: int = 128) -> NDArray[np.float64]:
    """The softmax responses' first principal components (networks, size) within each kind; NaN where not run."""
    answers = Answers(zoo)
    found = np.full((len(zoo), size), np.nan)
    for kind, places in answers.kinds.items():
        probabilities = answers.probabilities(answers.outputs[kind]).astype(np.float64)
        left, scale, _ = np.linalg.svd(probabilities, full_matrices=False)
        found[places] = 0
        found[places, : min(size, len(scale))] = (left * scale)[:, :size]
    return found


def regression(zoo: Zoo, vectors: Vectors, groupings: list[Grouping]) -> Floats:
    """Accuracies predicted from vectors (networks, length): by the regressor and grouping that is best on validation
    runs; NaN where a group has too few networks to learn from, or a vector is missing."""
    validation = np.flatnonzero(zoo.splits == "validation")
    objective = Accuracy(zoo)
    candidates = [
        _fitted(zoo, vectors, grouping, make) for grouping in groupings for make in (boosting, ridge, machine)
    ]
    scores = [objective.score(one[:, None], validation) for one in candidates]
    return candidates[int(np.argmax(scores))]


def _fitted(zoo: Zoo, vectors: Vectors, grouping: Grouping, make: Callable[[], RegressorMixin]) -> Floats:
    truth = zoo.attributes.accuracy
    predicted = np.full(len(zoo), np.nan)
    for places in grouping:
        present = np.array([place for place in places if not np.isnan(vectors[place]).any()], np.int64)
        known = present[(zoo.splits[present] == "train") & np.isfinite(truth[present])]
        if len(known) >= FEWEST:
            fitted = make().fit(np.stack([vectors[place] for place in known]), truth[known])
            predicted[present] = fitted.predict(np.stack([vectors[place] for place in present]))
    return predicted


def boosting() -> RegressorMixin:
    """Gradient-boosted trees."""
    return HistGradientBoostingRegressor(min_samples_leaf=5, random_state=0)


def machine() -> RegressorMixin:
    """Support vector regression with a Gaussian kernel."""
    return make_pipeline(StandardScaler(), SVR(C=1, epsilon=0.01))


def ridge() -> RegressorMixin:
    """Ridge regression, its strength by cross-validation."""
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))


def _by_architecture(scores: Mapping[str, Floats], cells: list[tuple[str, str]]) -> Table:
    architectures = np.array([architecture for architecture, _ in cells])
    parts = {"all cells": np.ones(len(cells), bool)}
    parts |= {name: architectures == name for name in np.unique(architectures)}
    found: Cells = {}
    leads: Cells = {}
    for method, values in scores.items():
        found[method] = {name: figure(values[:, part]) for name, part in parts.items()}
        if PEACE in scores and method not in (PEACE, CEILING):
            ahead = scores[PEACE].mean(0) - values
            leads[method] = {name: figure(ahead[:, part]) for name, part in parts.items()}
    return Table("Accuracy prediction, τ_b by architecture", found, leads)


def _each(scores: Mapping[str, Floats], cells: Mapping[tuple[str, str], Places]) -> Table:
    found: Cells = {}
    for number, ((architecture, task), places) in enumerate(cells.items()):
        found[f"{architecture} · {task}, {len(places)}"] = {
            method: Figure(*[float(values[:, number].mean())] * 5, len(places), tuple(values[:, number]))
            for method, values in scores.items()
            if not np.isnan(values[:, number]).any()
        }
    return Table("Accuracy prediction, τ_b of each cell (and how many networks it has)", found)
