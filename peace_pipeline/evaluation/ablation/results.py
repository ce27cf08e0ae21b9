"""What the report on parts found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from peace_pipeline.evaluation.ablation.variants import FULL, Variant
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Found, Size, over_seeds

ALL, ACROSS, ALONE = "all", "across", "weights"
SCOPES = {
    ALL: "MAP, all other runs",
    ACROSS: "MAP, other architectures",
    ALONE: "MAP, weights alone",
}
MOVEMENTS = {
    "still": "Moved by symmetries, at most",
    "broken": "Moved by broken twins",
    "noise": "Moved by 1% noise",
}


@dataclass(frozen=True)
class Scored:
    """One encoder: what it found by scope, and how far changes of networks move its embedding by weights alone."""

    found: Mapping[str, Found]
    still: float
    broken: float
    noise: float


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

    @cached_property
    def _resampling(self) -> Resampling:
        return Resampling.of(self.runs, self.seed)

    def precision(self, name: str, scope: str) -> Resampled:
        """Same-task MAP of a variant."""
        return over_seeds([each.found[scope] for each in self.scored[name]], self._resampling)

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
        """The variants that are ahead of the full encoder, and raw responses where they are, a sentence each."""
        lines = []
        for scope, title in self.scopes.items():
            for name, variant in self.variants.items():
                behind = self.behind(name, scope).estimate
                if name != FULL and behind.high < 0:
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
        return lines

    def worth(self) -> list[str]:
        """The variants that are surely behind the full encoder over all other runs."""
        return [name for name in self.variants if name != FULL and self.behind(name, ALL).estimate.low > 0]

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``variant/scope`` with ``_low`` and ``_high`` and what it is behind, and movements."""
        flat = {"seed": float(self.seed), "losses": float(len(self.losses()))}
        for name in self.variants:
            for scope in self.scopes:
                for what, figure in (
                    (f"{name}/{scope}", self.precision(name, scope)),
                    (f"{name}/{scope}/behind", self.behind(name, scope)),
                ):
                    found = figure.estimate
                    flat |= {what: found.mean, f"{what}_low": found.low, f"{what}_high": found.high}
            flat |= {f"{name}/{movement}": self.moved(name, movement) for movement in MOVEMENTS}
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
            "parts surely worth something": float(len(self.worth())),
        }
