"""What the report on what was left out found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Found, Size, over_seeds

ARCHITECTURE, TASK = "architecture", "task"
LEFT_OUT, TRAINED_ON, RAW = "left_out", "trained_on", "raw_responses"
WEIGHTS_LEFT_OUT, WEIGHTS_TRAINED_ON = "weights_left_out", "weights_trained_on"
METHOD_TITLES = {
    LEFT_OUT: "PEACE, left out",
    TRAINED_ON: "PEACE, trained on it",
    WEIGHTS_LEFT_OUT: "weights alone, left out",
    WEIGHTS_TRAINED_ON: "weights alone, trained on it",
    RAW: "Raw responses",
}


@dataclass(frozen=True)
class Unit:
    """What was left out: an architecture, or a task."""

    kind: str
    name: str


@dataclass(frozen=True)
class Results:
    """Everything that the report shows. ``precision`` is unit → method → by seed, of the unit's networks; ``runs`` are
    those of all test networks."""

    encoder_version: str
    seed: int
    size: Size
    runs: Sequence[str]
    precision: Mapping[Unit, Mapping[str, Sequence[Found]]]

    @cached_property
    def _resampling(self) -> Resampling:
        return Resampling.of(self.runs, self.seed)

    def units(self, kind: str) -> list[Unit]:
        """Those of a kind whose networks have something to find."""
        return [unit for unit in self.precision if unit.kind == kind and self.queries(unit)]

    def queries(self, unit: Unit) -> int:
        """How many networks of a unit ask."""
        return len(self.precision[unit][LEFT_OUT][0].queries)

    def of(self, unit: Unit, method: str) -> Resampled:
        """Same-task MAP of a unit's networks, over seeds and queries."""
        return over_seeds(self.precision[unit][method], self._resampling)

    def lead(self, unit: Unit, method: str) -> Resampled:
        """How far PEACE that was not trained on a unit is ahead of a method."""
        return self.of(unit, LEFT_OUT) - self.of(unit, method)

    def losses(self) -> list[str]:
        """Where raw responses are ahead of what was trained on the others, a sentence each."""
        lines = []
        for kind in (ARCHITECTURE, TASK):
            for unit in self.units(kind):
                lead = self.lead(unit, RAW).estimate
                if lead.mean < 0:
                    lines.append(
                        f"Trained without the {kind} {unit.name}, PEACE is behind raw responses by {-lead.mean:.3f} "
                        f"[{-lead.high:.3f}, {-lead.low:.3f}]."
                    )
        return lines

    def mean(self, kind: str, method: str) -> float:
        """The mean over the units of a kind."""
        units = self.units(kind)
        return float(np.mean([self.of(unit, method).value for unit in units])) if units else float("nan")

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``kind/name/method`` with ``_low`` and ``_high``."""
        flat = {"seed": float(self.seed), "losses": float(len(self.losses()))}
        for kind in (ARCHITECTURE, TASK):
            for unit in self.units(kind):
                for method in METHOD_TITLES:
                    found, name = self.of(unit, method).estimate, f"{kind}/{unit.name}/{method}"
                    flat |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
                flat[f"{kind}/{unit.name}/queries"] = float(self.queries(unit))
            flat |= {f"{kind}/mean/{method}": self.mean(kind, method) for method in METHOD_TITLES}
        return {name: value for name, value in flat.items() if np.isfinite(value)}

    def headline(self) -> dict[str, float]:
        """The figures that the lineage shows."""
        shown = {f"MAP, {kind} left out": self.mean(kind, LEFT_OUT) for kind in (ARCHITECTURE, TASK)}
        shown |= {f"MAP, {kind} trained on": self.mean(kind, TRAINED_ON) for kind in (ARCHITECTURE, TASK)}
        return {name: value for name, value in shown.items() if np.isfinite(value)}
