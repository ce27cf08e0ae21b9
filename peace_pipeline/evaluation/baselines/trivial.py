"""What is to be had without reading any weight."""

from __future__ import annotations

import numpy as np

from peace_pipeline.evaluation.baselines.registry import Members, Similarity, baseline


@baseline("Shapes alone")
def shapes(queries: Members, gallery: Members, train: Members) -> Similarity:
    """1 where the signatures are equal, else 0."""
    rows, columns = ([member.wiring.signature for member in members] for members in (queries, gallery))
    return np.equal.outer(np.array(rows), np.array(columns)).astype(np.float64)


@baseline("Chance")
def chance(queries: Members, gallery: Members, train: Members) -> Similarity:
    """All pairs alike: the order is random."""
    return np.zeros((len(queries), len(gallery)))
