"""The two grades of retrieval: the same function in disguise, and the same task in another training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.baselines import BASELINES, Similarity
from peace_pipeline.evaluation.metrics import Estimate, Scores, estimate, retrieve
from peace_pipeline.evaluation.population import Member

PEACE = "peace"
ALL = "all"
Mask = NDArray[np.bool_]


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

    def best_of_weights(self, metric: str = "map") -> str:
        """The strongest baseline of those that read only weights."""
        rivals = [name for name in self.scopes[ALL] if name != PEACE and BASELINES[name].weights_only]
        return max(rivals, key=lambda name: self.estimate(name, metric).mean)

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


def same_function(members: Sequence[Member], similarities: dict[str, Similarity], seed: int) -> Grade:
    """Disguised networks (rows) look for their originals among all (columns).

    Networks without known symmetries cannot be disguised: they are in the gallery only. Scopes are parts of the
    queries, by architecture and by how they were wired; the gallery is always whole.
    """
    own = np.eye(len(members), dtype=bool)
    asks = np.array([member.acted_on for member in members])
    scored = {name: retrieve(matrix, own & asks[:, None], seed=seed) for name, matrix in similarities.items()}
    parts = {ALL: asks}
    for prefix, labels in (
        ("", [member.architecture for member in members]),
        ("wiring_", [member.wiring.method for member in members]),
    ):
        parts |= {f"{prefix}{label}": asks & (np.array(labels) == label) for label in sorted(set(labels))}
    scopes = {
        scope: {name: scores.of(rows) for name, scores in scored.items()}
        for scope, rows in parts.items()
        if rows.any()
    }
    return Grade("same_function", scopes, seed)


def same_task(members: Sequence[Member], similarities: dict[str, Similarity], seed: int) -> Grade:
    """Networks look for networks of their task in other training runs.

    Networks trained on shuffled labels are relevant to nobody and ask nothing. The query's own run is no part of
    its gallery. In the scope of an architecture, queries and gallery are both of that architecture.
    """
    relevant, excluded = relevance(members)
    architectures = np.array([member.architecture for member in members])
    everything = np.ones(len(members), dtype=bool)
    parts = {ALL: everything} | {name: architectures == name for name in sorted(set(architectures))}
    scopes = {}
    for scope, rows in parts.items():
        cut = np.ix_(rows, rows)
        if (relevant & ~excluded)[cut].any():
            scopes[scope] = {
                name: retrieve(matrix[cut], relevant[cut], excluded[cut], seed=seed)
                for name, matrix in similarities.items()
            }
    return Grade("same_task", scopes, seed)


def relevance(members: Sequence[Member]) -> tuple[Mask, Mask]:
    """Which pairs are truly of one task, and which are excluded as they are of one run: (members, members)."""
    task = np.array([member.network.task or "" for member in members], dtype=str)
    run = np.array([member.network.run for member in members], dtype=str)
    real = np.array([not member.network.shuffled_labels for member in members], dtype=bool) & (task != "")
    return (task[:, None] == task) & real[:, None] & real, run[:, None] == run


def baseline_similarities(
    queries: Sequence[Member],
    gallery: Sequence[Member],
    train: Sequence[Member],
    *,
    weights_only: bool,
    done: Callable[[], None],
) -> dict[str, Similarity]:
    """Similarities by every registered method (of those that read only weights)."""
    found = {}
    for name, method in BASELINES.items():
        if method.weights_only or not weights_only:
            found[name] = method.similarity(queries, gallery, train)
            done()
    return found
