"""What the retrieval report found: scores of every method on two grades, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.baselines.registry import Knows, all_baselines
from peace_pipeline.evaluation.embedder import OWN, PEACE
from peace_pipeline.evaluation.metrics import Estimate, Scores, estimate
from peace_pipeline.evaluation.population import Member

ALL = "all"
HEADLINE = tuple(
    f"{PEACE}/{name}"
    for name in ("same_task/map", "same_task/lead", "same_task/precision_at_1", "same_function/recall_at_1")
)
"""The figures that say how PEACE does."""


@dataclass(frozen=True)
class Grade:
    """Scores of every method on one grade, by scope (``all``, and parts of the queries), then by method."""

    name: str
    scopes: dict[str, dict[str, Scores]]
    seed: int

    def estimate(self, method: str, metric: str, scope: str = ALL) -> Estimate:
        """Mean and interval of a metric."""
        return estimate(self.scopes[scope][method].values[metric], self.seed)

    def difference(self, method: str, other: str, metric: str = "map") -> Estimate:
        """Mean and interval of how much better ``method`` does than ``other``, query by query."""
        scores = self.scopes[ALL]
        return estimate(scores[method].values[metric] - scores[other].values[metric], self.seed)

    def methods(self) -> list[str]:
        """PEACE, then the methods that read networks, best first, then those that read cards."""
        names = [name for name in self.scopes[ALL] if name not in OWN]
        names.sort(key=lambda name: (_reads_cards(name), -self.estimate(name, "map").mean))
        return [*(name for name in OWN if name in self.scopes[ALL]), *names]

    def best_rival(self, metric: str = "map") -> str:
        """The strongest baseline of those that read networks: their weights or their responses."""
        return self.rivals(metric)[0]

    def rivals(self, metric: str = "map") -> list[str]:
        """The baselines that read networks, best first."""
        rivals = [name for name in self.scopes[ALL] if name not in OWN and not _reads_cards(name)]
        return sorted(rivals, key=lambda name: -self.estimate(name, metric).mean)

    def figures(self) -> dict[str, float]:
        """All estimates, flat: ``method/grade[/scope]/metric`` with ``_low`` and ``_high``."""
        flat: dict[str, float] = {}
        for scope, methods in self.scopes.items():
            for method, scores in methods.items():
                prefix = "/".join([method, self.name, *([] if scope == ALL else [scope])])
                for metric in scores.values:
                    found = self.estimate(method, metric, scope)
                    flat |= {
                        f"{prefix}/{metric}": found.mean,
                        f"{prefix}/{metric}_low": found.low,
                        f"{prefix}/{metric}_high": found.high,
                    }
        return flat


@dataclass(frozen=True)
class Sample:
    """How many networks are drawn of a larger zoo: queries and gallery of test runs, and training networks."""

    queries: int = 500
    gallery: int = 2_000
    training: int = 2_000


DEFAULT = Sample()


@dataclass(frozen=True)
class Results:
    """Everything that the report shows; ``vectors`` are the members' embeddings (members, dimension)."""

    encoder_version: str
    seed: int
    most: Sample
    members: Sequence[Member]
    vectors: NDArray[np.floating]
    same_function: Grade
    same_task: Grade
    population: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """All figures, flat."""
        flat = {f"population/{name}": float(value) for name, value in self.population.items()}
        flat |= {"seed": float(self.seed)} | self.same_function.figures() | self.same_task.figures()
        lead = self.same_task.difference(PEACE, self.same_task.best_rival())
        flat |= {f"{PEACE}/same_task/lead{end}": value for end, value in _ends(lead).items()}
        return flat


def _reads_cards(method: str) -> bool:
    return all_baselines()[method].knows == Knows.CARDS


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"": estimate.mean, "_low": estimate.low, "_high": estimate.high}
