"""Intervals for what is measured over networks: training runs are drawn again, as networks of one run are no
independent witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.metrics import Estimate

DRAWS = 1_000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """A figure, and what it is on each draw of the runs (NaN where it isn't defined). Figures on the same draws can be
    taken from each other."""

    value: float
    draws: Floats

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(self.value - other.value, self.draws - other.draws)

    @property
    def estimate(self) -> Estimate:
        """The figure with its 95% percentile-bootstrap interval (Efron 1979)."""
        if np.isnan(self.draws).all():
            return Estimate(self.value, self.value, self.value)
        low, high = np.nanquantile(self.draws, (0.025, 0.975), method="nearest")
        return Estimate(self.value, float(low), float(high))


@dataclass(frozen=True)
class Resampling:
    """``counts`` (draws, networks) say how often each network is in each draw."""

    counts: Floats

    @classmethod
    def of(cls, runs: Sequence[str], seed: int, draws: int = DRAWS) -> Resampling:
        """As many runs as there are, drawn with replacement; networks come with their run."""
        names, run_of = np.unique(np.asarray(runs, dtype=str), return_inverse=True)
        share = np.full(len(names), 1 / max(1, len(names)))
        counts = np.random.default_rng(seed).multinomial(len(names), share, size=draws)
        return cls(counts[:, run_of].astype(np.float64))

    def of_networks(self, kept: NDArray[np.bool_]) -> Resampling:
        """The same draws of some of the networks."""
        return Resampling(self.counts[:, kept])

    def ratio(self, part: NDArray[np.number | np.bool_], whole: NDArray[np.number | np.bool_]) -> Resampled:
        """Σ ``part`` / Σ ``whole`` over networks: a mean where ``whole`` is 1 for each."""
        part, whole = (np.asarray(each, dtype=np.float64) for each in (part, whole))
        with np.errstate(invalid="ignore", divide="ignore"):
            return Resampled(
                float(part.sum() / whole.sum()) if whole.sum() else float("nan"),
                (self.counts @ part) / (self.counts @ whole),
            )

    def mean(self, values: NDArray[np.number | np.bool_]) -> Resampled:
        """The mean of the networks' values."""
        return self.ratio(values, np.ones(len(values)))

    def median(self, values: Floats) -> Resampled:
        """The median of the networks' values, of which some may be infinite (of an even number the lower one)."""
        order = np.argsort(values)
        reached = self.counts[:, order].cumsum(1)
        places = (reached >= reached[:, -1:] / 2).argmax(1)
        return Resampled(float(values[order][(len(values) - 1) // 2]), values[order][places])

    def auc(self, scores: Floats, positive: NDArray[np.bool_]) -> Resampled:
        """Area under the ROC curve: how probably a positive network's score is above another's, ties counting half."""
        yes, no = scores[positive], scores[~positive]
        wins = (yes[:, None] > no) + 0.5 * (yes[:, None] == no)
        some, others = self.counts[:, positive], self.counts[:, ~positive]
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = ((some @ wins) * others).sum(1) / (some.sum(1) * others.sum(1))
        return Resampled(float(wins.mean()) if wins.size else float("nan"), draws)
