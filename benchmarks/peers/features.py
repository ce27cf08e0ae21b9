"""Vectors that are read of weights or cards, for classifiers and regressors on top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.population import Cohort
from peace_pipeline.zoo.record import ModelRecord

PERCENTILES = (1, 25, 50, 75, 99)
LOGARITHMIC = ("learning_rate", "weight_decay", "initial_scale", "data_fraction", "batch_size", "steps")
LINEAR = ("step", "epochs", "epsilon", "poisoned_fraction", "hidden_size", "num_hidden_layers", "num_layers")
NAMED = ("optimizer", "labels", "variant", "backdoor", "adversarial")


def moments(cohort: Cohort) -> NDArray[np.float64]:
    """Eight measures of each layer's values, and of their differences along the last axis: (networks, 16 · tensors).

    Mean, variance, skewness and five percentiles, as the meta-classifiers of Eilertsen et al. (2020),
    https://arxiv.org/abs/2002.05688, have them of weights and of the gradients of filters.
    """
    found = []
    for wired in cohort.stack.wiring.layers:
        for name in wired.layer.tensors.values():
            values = cohort.stack.tensors[name].numpy().astype(np.float64)
            found += [_measures(values), _measures(np.diff(values, axis=-1))]
    return np.concatenate(found, 1)


def _measures(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(networks, …) → (networks, 8); zeros where there are no values."""
    flat = values.reshape(len(values), -1)
    if not flat.shape[1]:
        return np.zeros((len(flat), 8))
    mean, std = flat.mean(1), flat.std(1)
    skewness = ((flat - mean[:, None]) ** 3).mean(1) / np.maximum(std, 1e-12) ** 3
    return np.stack([mean, std**2, skewness, *np.percentile(flat, PERCENTILES, axis=1)], 1)


def hyperparameters(records: Sequence[ModelRecord]) -> NDArray[np.float64]:
    """What cards say of how networks were trained: (networks, settings); 0 where a card says nothing.

    Rates and counts by their logarithm, names (the architecture and its variant among them) as one column a value.
    The task is left out.
    """
    columns = [[_number(record, name, np.log) for record in records] for name in LOGARITHMIC]
    columns += [[_number(record, name, float) for record in records] for name in LINEAR]
    named = [[record.hyperparameters.get(name) or "" for record in records] for name in NAMED]
    named += [[record.architecture or "" for record in records]]
    for values in named:
        columns += [[float(value == one) for value in values] for one in sorted(set(values))]
    return np.array(columns, np.float64).T


def _number(record: ModelRecord, name: str, scale: np.ufunc | type) -> float:
    value = record.hyperparameters.get(name)
    return float(scale(float(value))) if value else 0.0
