"""Scores of how anomalous networks are, and how well a threshold on them does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peace_pipeline.evaluation.probing import Sides, fitted
from peace_pipeline.evaluation.representations import Mask, Matrix
from peace_pipeline.evaluation.resampling import Resampled, Resampling

NEIGHBOURS = 5


@dataclass(frozen=True)
class Detected:
    """On test runs: the area under the ROC curve, and precision and recall of the threshold that does best (by F1) on
    validation runs."""

    auc: Resampled
    precision: Resampled
    recall: Resampled


def learned(vectors: Matrix, wrong: Mask, sides: Sides) -> Matrix:
    """What a linear probe says: the score (networks,) is the higher, the more a network is like the known anomalies."""
    resampling = Resampling(np.ones((1, int(sides.validation.sum()))))

    def quality(truth: Matrix, found: Matrix) -> float:
        return resampling.auc(found[:, 0], truth[:, 0] > 0).value if np.ptp(truth) else 0.0

    return fitted(vectors, wrong[:, None].astype(np.float64), sides, quality)[:, 0]


def far(vectors: Matrix, clean: Mask) -> Matrix:
    """How far (by cosine) each network is from the nearest ``clean`` ones, in the mean of ``NEIGHBOURS`` others: the
    score (networks,) of somebody who knows no anomaly."""
    similarity = vectors @ vectors[clean].T
    similarity[clean] = np.where(np.eye(int(clean.sum()), dtype=bool), -np.inf, similarity[clean])
    nearest = np.sort(similarity, 1)[:, -min(NEIGHBOURS, similarity.shape[1] - 1) :]
    return 1 - nearest.mean(1)


def judged(scores: Matrix, wrong: Mask, sides: Sides, resampling: Resampling) -> Detected:
    """How well scores tell what is wrong on test runs, whose ``resampling`` is given."""
    chosen = sides.validation if np.ptp(wrong[sides.validation].astype(int)) else sides.train
    flagged = scores[sides.test] >= threshold(scores[chosen], wrong[chosen])
    positive = wrong[sides.test]
    return Detected(
        resampling.auc(scores[sides.test], positive),
        resampling.ratio(flagged & positive, flagged),
        resampling.ratio(flagged & positive, positive),
    )


def copies(similarity: Matrix, resampling: Resampling, least: float) -> Detected:
    """How well similarities (queries, gallery) tell that query i is a copy of network i, and of no other: the area
    under the ROC curve is the mean over queries; ``resampling`` is of the queries, ``least`` the threshold."""
    own = np.eye(len(similarity), dtype=bool)
    copy = similarity[own][:, None]
    below = ((similarity < copy) + 0.5 * (similarity == copy))[~own].reshape(len(similarity), -1).mean(1)
    flagged = similarity >= least
    found = flagged[own]
    return Detected(resampling.mean(below), resampling.ratio(found, flagged.sum(1)), resampling.mean(found))


def threshold(scores: Matrix, positive: Mask) -> float:
    """The least score that counts as positive for the best F1, half-way to the next below (the highest of equally good
    ones): rounding decides nothing."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positive.sum())
    last = np.append(ranked[1:] < ranked[:-1], True)  # of equal scores all count or none
    best = int(np.argmax(np.where(last, f1, -1)))
    return float(ranked[best : best + 2].mean())
