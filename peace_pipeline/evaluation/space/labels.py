"""What is known of networks besides their weights: classes to colour and cluster by, values for probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.representations import Mask, Matrix
from peace_pipeline.zoo.record import ModelRecord

THIRDS = ("lowest third", "middle third", "highest third")
UNKNOWN = ""
TASK, DATASET, ARCHITECTURE, PERFORMANCE = "task", "dataset", "architecture", "performance"
HYPERPARAMETERS = ("learning_rate", "weight_decay", "initial_scale", "data_fraction", "steps")
"""Those that vary over magnitudes: their logarithm is probed."""
CLASSES = ("optimizer", "labels")


def classes(
    members: Sequence[Member], records: Mapping[str, ModelRecord], train: Mask
) -> dict[str, NDArray[np.str_]]:
    """Name → the class of each network, ``UNKNOWN`` where the record doesn't say."""
    known = [records[member.listing.model_id] for member in members]
    datasets = [", ".join(sorted(record.datasets or ())) for record in known]
    found = {
        TASK: [record.task or UNKNOWN for record in known],
        DATASET: datasets,
        ARCHITECTURE: [member.architecture for member in members],
        PERFORMANCE: _thirds(datasets, _accuracies(members), train),
        **{name: [_said(record, name) for record in known] for name in CLASSES},
    }
    return {name: np.array(column, dtype=str) for name, column in found.items()}


def values(members: Sequence[Member], records: Mapping[str, ModelRecord]) -> dict[str, Matrix]:
    """Name → the value of each network, NaN where the record doesn't say: accuracy, logarithms of hyperparameters."""
    known = [records[member.listing.model_id] for member in members]
    return {"accuracy": _accuracies(members)} | {
        f"log {name}": np.array([_logarithm(_said(record, name)) for record in known])
        for name in HYPERPARAMETERS
    }


def _accuracies(members: Sequence[Member]) -> Matrix:
    found = [member.listing.accuracy for member in members]
    return np.array([np.nan if each is None else each for each in found], dtype=np.float64)


def _thirds(datasets: Sequence[str], accuracies: Matrix, train: Mask) -> list[str]:
    """In which third of its dataset's training networks an accuracy lies: across datasets it says how hard they are."""
    brackets = np.full(len(accuracies), UNKNOWN, dtype=object)
    of = np.array(datasets, dtype=str)
    for dataset in np.unique(of):
        rows = (of == dataset) & ~np.isnan(accuracies)
        known = accuracies[rows & train]
        if len(known) >= len(THIRDS):
            places = np.searchsorted(np.quantile(known, (1 / 3, 2 / 3)), accuracies[rows])
            brackets[rows] = np.array(THIRDS, dtype=object)[places]
    return brackets.tolist()


def _said(record: ModelRecord, name: str) -> str:
    return str((record.hyperparameters or {}).get(name, UNKNOWN))


def _logarithm(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return float(np.log10(value)) if value > 0 else float("nan")
