"""The weights of a network in one vector."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from peace_pipeline.evaluation.baselines.registry import Similarity, baseline, within_signature
from peace_pipeline.evaluation.population import Cohort
from peace_pipeline.evaluation.readings import Readings, Vectors

MOST_VALUES = 16_384


def values(cohort: Cohort, most: int = MOST_VALUES) -> Vectors:
    """All weights (networks, values); of larger networks so many of them at even distances."""
    flat = cohort.flat
    size = sum(tensor.shape[1] for tensor in flat)
    if size <= most:
        return np.concatenate(flat, 1)
    places = np.linspace(0, size - 1, most).round().astype(np.int64)
    starts = np.cumsum([0, *(tensor.shape[1] for tensor in flat)])
    of_each = np.split(places, np.searchsorted(places, starts[1:-1]))
    return np.concatenate(
        [tensor[:, some - start] for tensor, some, start in zip(flat, of_each, starts[:-1], strict=True)], 1
    )


@baseline("Flattened weights", reads=values)
@within_signature
def flattened(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of all weights in one vector; of networks with more than 16,384, of so many at even distances.

    Standardising each coordinate on the training split made it worse.
    """
    return cosine_similarity(queries.matrix, gallery.matrix)
