"""Figures of rankings, predictions and distances, with intervals over what they are means of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from peace_pipeline.evaluation.metrics import ranks

Floats = NDArray[np.float64]
RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A mean over ``count`` items and all seeds, with 95% bootstrap intervals over items and over training runs.

    ``seeds`` are the means of each seed alone.
    """

    mean: float
    low: float
    high: float
    low_runs: float
    high_runs: float
    count: int
    seeds: tuple[float, ...]

    def as_dict(self) -> dict[str, object]:
        """The fields as a JSON object."""
        return asdict(self)


def figure(values: Floats, runs: Sequence[object] | None = None, seed: int = 0) -> Figure:
    """Of values (seeds, items), each item of one of ``runs`` (or of its own); items that are NaN are left out."""
    values = np.atleast_2d(values)
    known = ~np.isnan(values).any(0)
    values, each = values[:, known], values[:, known].mean(0)
    if not len(each):
        return Figure(*[float("nan")] * 5, 0, ())
    groups = (
        np.arange(len(each)) if runs is None else np.unique(np.array(runs)[known], return_inverse=True)[1]
    )
    low, high = interval(each, np.arange(len(each)), seed)
    low_runs, high_runs = interval(each, groups, seed)
    seeds = tuple(float(one) for one in values.mean(1))
    return Figure(float(each.mean()), low, high, low_runs, high_runs, len(each), seeds)


def interval(values: Floats, groups: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """95% percentile bootstrap of the mean of values (items,), whose groups are drawn whole (Efron 1979)."""
    drawn = resamples(int(groups.max()) + 1, seed)
    means = (drawn @ np.bincount(groups, values)) / (drawn @ np.bincount(groups).astype(float))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@lru_cache(maxsize=16)
def resamples(count: int, seed: int) -> Floats:
    """How often each of ``count`` items is in each resample: (resamples, count)."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def ordered(similarity: NDArray[np.floating], seed: int = 0) -> NDArray[np.int64]:
    """The gallery's places for each query, most similar first, ties at random: (queries, gallery)."""
    return np.argsort(-ranks(similarity, seed), axis=1, kind="stable")


def average_precision(
    order: NDArray[np.int64], relevant: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> Floats:
    """Average precision of each query in a gallery of those ``kept``; NaN where nothing relevant is kept.

    All are (queries, gallery), ``order`` as :func:`ordered` gives it.
    """
    present = np.take_along_axis(kept, order, 1)
    hit = np.take_along_axis(relevant & kept, order, 1)
    precision = hit.cumsum(1) / np.maximum(present.cumsum(1), 1)
    found = hit.sum(1)
    return np.where(found, (precision * hit).sum(1) / np.maximum(found, 1), np.nan)


def auc(positive: Floats, negative: Floats) -> float:
    """Probability that a positive is larger than a negative (ties count half)."""
    both = np.concatenate([positive, negative])
    order = both.argsort(kind="stable")
    _, inverse, counts = np.unique(both[order], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    rank = np.empty(len(both))
    rank[order] = middle[inverse]
    size = len(positive)
    return float((rank[:size].sum() - size * (size + 1) / 2) / (size * len(negative)))


def tau(truth: Floats, predicted: Floats) -> float:
    """Kendall's τ_b."""
    return float(kendalltau(truth, predicted, variant="b").statistic)


def tie_ceiling(truth: Floats) -> float:
    """The largest τ_b that predictions without ties reach: √(pairs that differ / all pairs)."""
    pairs = len(truth) * (len(truth) - 1) / 2
    tied = sum(count * (count - 1) / 2 for count in np.unique(truth, return_counts=True)[1])
    return float(np.sqrt((pairs - tied) / pairs))
