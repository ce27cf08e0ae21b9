"""What is to be had without reading any weight."""

from __future__ import annotations

import numpy as np

from peace_pipeline.evaluation.baselines.registry import Similarity, baseline
from peace_pipeline.evaluation.readings import Readings


@baseline("Shapes alone")
def shapes(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """1 where the signatures are equal, else 0."""
    rows, columns = (
        np.array([member.wiring.signature for member in readings.members]) for readings in (queries, gallery)
    )
    return np.equal.outer(rows, columns).astype(np.float64)


@baseline("Chance")
def chance(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """All pairs alike: the order is random."""
    return np.zeros((len(queries), len(gallery)))
