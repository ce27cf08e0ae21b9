"""Retrieval metrics a query, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_normalized_dcg,
    retrieval_precision,
    retrieval_recall,
)

CUTOFFS, NDCG = (1, 5, 10), "ndcg"
_SMOOTHING = 60
METRICS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "map": retrieval_average_precision,
    **{f"precision_at_{k}": partial(retrieval_precision, top_k=k) for k in CUTOFFS},
    **{f"recall_at_{k}": partial(retrieval_recall, top_k=k) for k in CUTOFFS},
}


@dataclass(frozen=True)
class Scores:
    """``values`` is metric → (scored queries,); ``queries`` says which rows these are.

    ``left_out`` queries had nothing relevant to find.
    """

    values: dict[str, NDArray[np.float64]]
    queries: NDArray[np.int64]
    left_out: int

    def of(self, rows: NDArray[np.bool_]) -> Scores:
        """The scores of those queries whose rows these are."""
        kept = rows[self.queries]
        values = {name: column[kept] for name, column in self.values.items()}
        return Scores(values, self.queries[kept], int(rows.sum() - kept.sum()))


@dataclass(frozen=True)
class Estimate:
    """A mean over queries with its 95% interval."""

    mean: float
    low: float
    high: float


def retrieve(
    similarity: NDArray[np.floating],
    relevant: NDArray[np.bool_ | np.floating],
    excluded: NDArray[np.bool_] | None = None,
    *,
    seed: int,
) -> Scores:
    """Score every query with something to find; all matrices are (queries, gallery).

    What is ``excluded`` is no part of a query's gallery. Precision@k divides by k however small the gallery is.
    Relevance may be graded: nDCG weighs each network by its gain, to the other metrics any gain above 0 is relevant.
    """
    order = ranks(similarity, seed)
    kept = np.ones(similarity.shape, dtype=bool) if excluded is None else ~excluded
    gains = relevant.astype(np.float32)
    found = gains > 0
    queries = np.flatnonzero((found & kept).any(1))
    values: dict[str, list[float]] = {name: [] for name in (*METRICS, NDCG)}
    for query in queries:
        predictions = torch.from_numpy(order[query, kept[query]])
        target = torch.from_numpy(found[query, kept[query]])
        for name, metric in METRICS.items():
            values[name].append(float(metric(predictions, target)))
        weighed = torch.from_numpy(gains[query, kept[query]])
        values[NDCG].append(float(retrieval_normalized_dcg(predictions, weighed)))
    arrays = {name: np.array(column, dtype=np.float64) for name, column in values.items()}
    return Scores(arrays, queries, len(similarity) - len(queries))


def ranks(similarity: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """Similarities (queries, gallery) as ranks 1 … gallery, the most similar highest, ties broken at random.

    torchmetrics takes ties in the order of the gallery and counts whatever scores 0 or less as a miss: distinct
    positive ranks settle both.
    """
    random = np.random.default_rng(seed).random(similarity.shape)
    order = np.lexsort((random, similarity), axis=1)
    placed = np.empty(similarity.shape, dtype=np.float32)
    np.put_along_axis(placed, order, np.arange(1, similarity.shape[1] + 1, dtype=np.float32)[None], 1)
    return placed


def fused(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reciprocal rank fusion of two similarities (queries, gallery), as Cormack et al. (2009) have it; ties share their
    mean rank, and whatever one of the two can't compare is ranked by the other alone."""
    return _reciprocal(one) + _reciprocal(other)


def _reciprocal(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(similarity), 1 / (_SMOOTHING + rankdata(-similarity, axis=1)), 0)


def estimate(values: NDArray[np.float64], seed: int) -> Estimate:
    """Mean of the queries' values with a 95% percentile-bootstrap interval (Efron 1979)."""
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, mean, mean)
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))
