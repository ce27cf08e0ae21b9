"""What the report on parts found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from peace_pipeline.evaluation.ablation.diversity import Arm
from peace_pipeline.evaluation.ablation.variants import FULL, Variant
from peace_pipeline.evaluation.embedder import PEACE
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Found, Size, over_seeds

ALL, ACROSS, WEIGHTS, ANSWERS = "all", "across", "weights", "answers"
SCOPES = {
    ALL: "MAP, all other runs",
    ACROSS: "MAP, other architectures",
    WEIGHTS: "MAP, read by weights alone",
    ANSWERS: "MAP, read by answers alone",
}
READ_BY = {ALL: "both senses", WEIGHTS: "weights alone"}
"""The scopes that decide what a part is worth, each for itself."""
MOVEMENTS = {
    "still": "Moved by symmetries, at most",
    "broken": "Moved by broken twins",
    "noise": "Moved by 1% noise",
}


@dataclass(frozen=True)
class Scored:
    """One encoder: what it found by scope, of those that it has a sense for, and how far changes of networks move its
    embedding by weights alone."""

    found: Mapping[str, Found]
    still: float = float("nan")
    broken: float = float("nan")
    noise: float = float("nan")


@dataclass(frozen=True)
class Results:
    """Everything that the report shows. ``runs`` are those of the networks that all were judged by; ``raw`` is what
    raw responses find."""

    encoder_version: str
    seed: int
    size: Size
    variants: Mapping[str, Variant]
    runs: Sequence[str]
    scored: Mapping[str, Sequence[Scored]]
    raw: Mapping[str, Found]
    arms: Sequence[Arm] = ()

    @cached_property
    def _resampling(self) -> Resampling:
        return Resampling.of(self.runs, self.seed)

    def precision(self, name: str, scope: str) -> Resampled:
        """Same-task MAP of a variant."""
        return over_seeds([each.found[scope] for each in self.scored[name]], self._resampling)

    def has(self, name: str, scope: str) -> bool:
        """Whether a variant has the sense that it is read by in a scope."""
        return scope in self.scored[name][0].found

    def diverse(self, arm: Arm, method: str) -> Resampled:
        """Same-task MAP of an arm of fewer tasks, on tasks that none of the arms knows."""
        return over_seeds(arm.found[method], self._resampling)

    @property
    def scopes(self) -> dict[str, str]:
        """The scopes in which any query has something to find, and their titles."""
        return {
            scope: title for scope, title in SCOPES.items() if self.scored[FULL][0].found[scope].queries.size
        }

    def behind(self, name: str, scope: str) -> Resampled:
        """How far a variant is behind the full encoder, on the same queries."""
        return self.precision(FULL, scope) - self.precision(name, scope)

    def seeds(self, name: str, scope: str) -> tuple[float, float]:
        """The lowest and the highest of a variant's seeds."""
        means = [each.found[scope].precision for each in self.scored[name]]
        found = [float(mean.mean()) if mean.size else float("nan") for mean in means]
        return min(found), max(found)

    def raw_precision(self, scope: str) -> Resampled:
        """Same-task MAP of raw responses."""
        return over_seeds([self.raw[scope]], self._resampling)

    def moved(self, name: str, movement: str) -> float:
        """The mean over a variant's seeds."""
        return float(np.mean([getattr(each, movement) for each in self.scored[name]]))

    def losses(self) -> list[str]:
        """The parts without which nothing is surely lost, then each variant that is surely ahead of the full encoder,
        and raw responses where they are ahead, a sentence each."""
        lines = []
        for scope, read in READ_BY.items():
            others, worth = self.others(scope), self.worth(scope)
            useless = [each.title for name, each in others.items() if name not in worth]
            if scope in self.scopes and useless:
                lines.append(
                    f"Read by {read}, nothing is surely lost with {len(useless)} of {len(others)} variants: "
                    f"{named(useless, [others[name].title for name in worth])}."
                )
        for scope, title in self.scopes.items():
            for name, variant in self.others(scope).items():
                behind = self.behind(name, scope).estimate
                if behind.high < 0:
                    lines.append(
                        f"{title}: “{variant.title}” is ahead of the full encoder by {-behind.mean:.3f} "
                        f"[{-behind.high:.3f}, {-behind.low:.3f}]."
                    )
            if scope in self.raw:
                ahead = (self.raw_precision(scope) - self.precision(FULL, scope)).estimate
                if ahead.mean > 0:
                    lines.append(
                        f"{title}: raw responses are ahead of the full encoder by {ahead.mean:.3f} "
                        f"[{ahead.low:.3f}, {ahead.high:.3f}]."
                    )
        return lines + self._undiverse()

    def _undiverse(self) -> list[str]:
        if not self.arms:
            return []
        most, fewest = self.arms[0], self.arms[-1]
        gain = (self.diverse(most, PEACE) - self.diverse(fewest, PEACE)).estimate
        if not gain.low <= 0:
            return []
        return [
            f"Of {most.tasks} tasks no more is surely learned than of {fewest.tasks}: {gain.mean:+.3f} "
            f"[{gain.low:+.3f}, {gain.high:+.3f}] on tasks that were not learned from."
        ]

    def others(self, scope: str) -> dict[str, Variant]:
        """The variants beside the full encoder that are read in a scope."""
        return {name: each for name, each in self.variants.items() if name != FULL and self.has(name, scope)}

    def worth(self, scope: str) -> list[str]:
        """The variants that are surely behind the full encoder in a scope."""
        return [name for name in self.others(scope) if self.behind(name, scope).estimate.low > 0]

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``variant/scope`` with ``_low`` and ``_high`` and what it is behind, movements, and
        ``tasks/number/method`` of the arms of fewer tasks."""
        flat = {"seed": float(self.seed), "losses": float(len(self.losses()))}
        for name in self.variants:
            for scope in self.scopes:
                if self.has(name, scope):
                    flat |= _flat(f"{name}/{scope}", self.precision(name, scope))
                    flat |= _flat(f"{name}/{scope}/behind", self.behind(name, scope))
            flat |= {f"{name}/{movement}": self.moved(name, movement) for movement in MOVEMENTS}
        for arm in self.arms:
            for method in arm.found:
                flat |= _flat(f"tasks/{arm.tasks}/{method}", self.diverse(arm, method))
        flat |= {
            f"raw_responses/{scope}": self.raw_precision(scope).value
            for scope in self.raw
            if scope in self.scopes
        }
        return {name: value for name, value in flat.items() if np.isfinite(value)}

    def headline(self) -> dict[str, float]:
        """The figures that the lineage shows."""
        return {
            "MAP, full": float(self.precision(FULL, ALL).value),
        } | {
            f"variants surely behind, read by {read}": float(len(self.worth(scope)))
            for scope, read in READ_BY.items()
            if scope in self.scopes
        }


def quoted(titles: Sequence[str]) -> str:
    """Titles in a sentence."""
    return ", ".join(f"“{title}”" for title in titles)


def _flat(name: str, figure: Resampled) -> dict[str, float]:
    found = figure.estimate
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def named(titles: Sequence[str], others: Sequence[str]) -> str:
    """Which ``titles`` are meant of them and the ``others``, in as few words as that takes."""
    if len(titles) <= len(others):
        return quoted(titles)
    return f"all but {quoted(others)}" if others else "all"
