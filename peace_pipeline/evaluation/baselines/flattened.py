"""All weights of a network in one vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

from peace_pipeline.evaluation.baselines.registry import (
    Members,
    Similarity,
    baseline,
    ordered_tensors,
    within_signature,
)


@baseline("Flattened weights")
@within_signature
def flattened(queries: Members, gallery: Members, train: Members) -> Similarity:
    """Cosine of all weights in one vector. (Standardising each coordinate on the training split made it worse.)"""
    return cosine_similarity(_flat(queries), _flat(gallery))


def _flat(members: Members) -> NDArray[np.float32]:
    """Weights (members, values) of networks of one signature, in the order of the wiring."""
    return np.stack(
        [np.concatenate([values.numpy().ravel() for values in ordered_tensors(m)]) for m in members]
    )
