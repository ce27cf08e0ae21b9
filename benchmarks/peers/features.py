"""Vectors that are read of cards, for classifiers and regressors on top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.zoo.record import ModelRecord

LOGARITHMIC = ("learning_rate", "weight_decay", "initial_scale", "data_fraction", "batch_size", "steps")
LINEAR = ("step", "epochs", "epsilon", "poisoned_fraction", "hidden_size", "num_hidden_layers", "num_layers")
NAMED = ("optimizer", "labels", "variant", "backdoor", "adversarial")


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
