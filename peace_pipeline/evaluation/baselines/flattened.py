"""All weights of a network in one vector."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from peace_pipeline.evaluation.baselines.registry import Similarity, baseline, within_signature
from peace_pipeline.evaluation.population import Cohort


@baseline("Flattened weights")
@within_signature
def flattened(queries: Cohort, gallery: Cohort, train: Cohort | None) -> Similarity:
    """Cosine of all weights in one vector. (Standardising each coordinate on the training split made it worse.)"""
    return cosine_similarity(*(np.concatenate(cohort.flat, 1) for cohort in (queries, gallery)))
