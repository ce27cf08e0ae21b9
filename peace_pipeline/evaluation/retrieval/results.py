"""What the retrieval report found: scores of every method on each grade, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, wilcoxon

from peace_pipeline.evaluation.baselines.registry import Knows, all_baselines
from peace_pipeline.evaluation.embedder import OWN, PEACE
from peace_pipeline.evaluation.metrics import Estimate, Scores, estimate
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.resampling import Resampling

ALL, WITHIN, ACROSS = "all", "within_architecture", "across_architectures"
DISGUISED, SEEN, UNSEEN = "disguised", "seen_tasks", "unseen_tasks"
SCOPES = (ALL, WITHIN, ACROSS, DISGUISED, SEEN, UNSEEN)
"""Those that every lake has as far as it has such networks; others are architectures, and ways of wiring."""
HYBRIDS = {
    "hybrid": ("PEACE and BM25, full cards", "bm25"),
    "hybrid_blanked": ("PEACE and BM25, blanked cards", "bm25_blanked"),
}
"""Vectors and text joined → the title, and the text's method."""
HEADLINE = tuple(
    f"{PEACE}/{name}"
    for name in ("same_task/map", "same_task/lead", "same_task/precision_at_1", "same_function/recall_at_1")
)
"""The figures that say how PEACE does."""


@dataclass(frozen=True)
class Grade:
    """Scores of every method on one grade, by scope (``all``, and parts of the queries or of their galleries), then by
    method; ``runs`` are those of all queries."""

    name: str
    scopes: dict[str, dict[str, Scores]]
    seed: int
    runs: Sequence[str]
    _found: dict[tuple[str, ...], Estimate] = field(default_factory=dict, compare=False, repr=False)

    def estimate(self, method: str, metric: str, scope: str = ALL) -> Estimate:
        """Mean and interval over queries of a metric."""
        if (method, metric, scope) not in self._found:
            values = self.scopes[scope][method].values[metric]
            self._found[method, metric, scope] = estimate(values, self.seed)
        return self._found[method, metric, scope]

    def over_runs(self, method: str, metric: str, scope: str = ALL) -> Estimate:
        """The same with its interval over training runs: all queries of a run are drawn together."""
        return self._drawn(self.scopes[scope][method].values[metric], scope)

    def difference(self, method: str, other: str, metric: str = "map", scope: str = ALL) -> Estimate:
        """Mean and interval of how much better ``method`` does than ``other``, query by query."""
        return estimate(self._differences(method, other, metric, scope), self.seed)

    def difference_over_runs(
        self, method: str, other: str, metric: str = "map", scope: str = ALL
    ) -> Estimate:
        """The same with its interval over training runs."""
        return self._drawn(self._differences(method, other, metric, scope), scope)

    def p_values(self, metric: str = "map", scope: str = ALL) -> dict[str, float]:
        """Method → p of Wilcoxon's signed-rank test that it and PEACE do equally well, a pair a training run (the mean
        over its queries), by Benjamini and Hochberg corrected for as many tests as there are methods."""
        methods = [name for name in self.methods(scope) if name != PEACE]
        raw = [self._signed_rank(self._differences(PEACE, name, metric, scope), scope) for name in methods]
        return dict(zip(methods, map(float, false_discovery_control(raw)), strict=True))

    def methods(self, scope: str = ALL) -> list[str]:
        """PEACE, then the methods that read networks, best first, then those that read cards."""
        found = self.scopes[scope]
        names = [name for name in found if name not in OWN]
        names.sort(key=lambda name: (_reads_cards(name), -found[name].values["map"].mean()))
        return [*(name for name in OWN if name in found), *names]

    def best_rival(self, metric: str = "map", scope: str = ALL) -> str:
        """The strongest baseline of those that read networks: their weights or their responses."""
        return self.rivals(metric, scope)[0]

    def rivals(self, metric: str = "map", scope: str = ALL) -> list[str]:
        """The baselines that read networks, best first."""
        rivals = [name for name in self.scopes[scope] if name not in OWN and not _reads_cards(name)]
        return sorted(rivals, key=lambda name: -self.estimate(name, metric, scope).mean)

    def figures(self) -> dict[str, float]:
        """All estimates, flat: ``method/grade[/scope]/metric`` with ``_low`` and ``_high``; of all queries also
        ``_low_runs`` and ``_high_runs``."""
        flat: dict[str, float] = {}
        for scope, methods in self.scopes.items():
            for method, scores in methods.items():
                prefix = "/".join([method, self.name, *([] if scope == ALL else [scope])])
                for metric in scores.values:
                    flat |= _ends(f"{prefix}/{metric}", self.estimate(method, metric, scope))
                    if scope == ALL:
                        drawn = self.over_runs(method, metric)
                        flat |= {
                            f"{prefix}/{metric}_low_runs": drawn.low,
                            f"{prefix}/{metric}_high_runs": drawn.high,
                        }
        return flat

    def _differences(self, method: str, other: str, metric: str, scope: str) -> NDArray[np.float64]:
        scores = self.scopes[scope]
        return scores[method].values[metric] - scores[other].values[metric]

    def _runs_of(self, scope: str) -> list[str]:
        """The runs of the queries that were scored."""
        scores = next(iter(self.scopes[scope].values()))
        return [self.runs[query] for query in scores.queries]

    def _drawn(self, values: NDArray[np.float64], scope: str) -> Estimate:
        return Resampling.of(self._runs_of(scope), self.seed).mean(values).estimate

    def _signed_rank(self, differences: NDArray[np.float64], scope: str) -> float:
        _, run_of = np.unique(self._runs_of(scope), return_inverse=True)
        means = np.bincount(run_of, differences) / np.bincount(run_of)
        return float(wilcoxon(means).pvalue) if np.any(means) else 1.0


@dataclass(frozen=True)
class Sample:
    """How many networks are drawn of a larger zoo: queries and gallery of test runs, and training networks."""

    queries: int = 500
    gallery: int = 2_000
    training: int = 2_000


DEFAULT = Sample()


@dataclass(frozen=True)
class Results:
    """Everything that the report shows; ``vectors`` are the members' embeddings (members, dimension).

    ``related_task`` and ``same_profile`` have no scope where no tasks are related or no networks agree;
    ``descriptions`` are queries in words; ``learned_from`` says what the encoder learned from.
    """

    encoder_version: str
    seed: int
    most: Sample
    members: Sequence[Member]
    vectors: NDArray[np.floating]
    same_function: Grade
    same_task: Grade
    related_task: Grade
    same_profile: Grade
    descriptions: Grade
    learned_from: str
    population: Mapping[str, float]

    @property
    def grades(self) -> list[Grade]:
        """The grades that there are networks for, queries by network first."""
        every = (
            self.same_function,
            self.same_task,
            self.related_task,
            self.same_profile,
            self.descriptions,
        )
        return [grade for grade in every if grade.scopes]

    def figures(self) -> dict[str, float]:
        """All figures, flat."""
        flat = {f"population/{name}": float(value) for name, value in self.population.items()}
        flat["seed"] = float(self.seed)
        for grade in self.grades:
            flat |= grade.figures()
        lead = self.same_task.difference(PEACE, self.same_task.best_rival())
        flat |= _ends(f"{PEACE}/same_task/lead", lead)
        flat |= {f"{method}/same_task/lead_p": p for method, p in self.same_task.p_values().items()}
        return flat


def knows(method: str) -> Knows | None:
    """What a method knows of networks; ``None`` of PEACE's own."""
    if method in OWN:
        return None
    return Knows.CARDS if method in HYBRIDS else all_baselines()[method].knows


def title(method: str) -> str:
    """What a method is called."""
    if method in HYBRIDS:
        return HYBRIDS[method][0]
    return OWN[method] if method in OWN else all_baselines()[method].title


def _reads_cards(method: str) -> bool:
    return method in HYBRIDS or (method not in OWN and knows(method) == Knows.CARDS)


def _ends(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
