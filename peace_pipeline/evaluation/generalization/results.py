"""What the report on what was left out found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from peace_pipeline.evaluation.embedder import WEIGHTS_ALONE
from peace_pipeline.evaluation.generalization.strangers import SHAPES, TITLES, Strangers
from peace_pipeline.evaluation.generalization.units import KINDS, Unit
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Found, Size, gained, over_seeds

LEFT_OUT, TRAINED_ON, RAW = "left_out", "trained_on", "raw_responses"
WEIGHTS_LEFT_OUT, WEIGHTS_TRAINED_ON = "weights_left_out", "weights_trained_on"
ANSWERS_LEFT_OUT, ANSWERS_TRAINED_ON = "answers_left_out", "answers_trained_on"
SENSES = {
    "Left out": {LEFT_OUT: "both", WEIGHTS_LEFT_OUT: "weights alone", ANSWERS_LEFT_OUT: "answers alone"},
    "Trained on it": {
        TRAINED_ON: "both",
        WEIGHTS_TRAINED_ON: "weights alone",
        ANSWERS_TRAINED_ON: "answers alone",
    },
}
"""By what encoders are trained on: method → the senses that it hears."""
METHODS = (*(method for methods in SENSES.values() for method in methods), RAW)


@dataclass(frozen=True)
class Results:
    """Everything that the report shows. ``precision`` is unit → method → by seed, of the unit's networks; ``runs`` are
    those of all test networks; ``same`` units are of the same networks as others; ``strangers`` are networks without a
    task."""

    encoder_version: str
    seed: int
    size: Size
    runs: Sequence[str]
    precision: Mapping[Unit, Mapping[str, Sequence[Found]]]
    same: Sequence[Unit]
    strangers: Strangers

    @cached_property
    def _resampling(self) -> Resampling:
        return Resampling.of(self.runs, self.seed)

    @cached_property
    def _strange(self) -> Resampling:
        return Resampling.of(self.strangers.runs, self.seed)

    def units(self, kind: str) -> list[Unit]:
        """Those of a kind whose networks have something to find."""
        return [unit for unit in self.precision if unit.kind == kind and self.queries(unit)]

    @property
    def kinds(self) -> list[str]:
        """Those of which there are units."""
        return [kind for kind in KINDS if self.units(kind)]

    def queries(self, unit: Unit) -> int:
        """How many networks of a unit ask."""
        return len(self.precision[unit][LEFT_OUT][0].queries)

    def of(self, unit: Unit, method: str) -> Resampled:
        """Same-task MAP of a unit's networks, over seeds and queries."""
        return over_seeds(self.precision[unit][method], self._resampling)

    def lead(self, unit: Unit, method: str) -> Resampled:
        """How far PEACE that was not trained on a unit is ahead of a method."""
        return self.of(unit, LEFT_OUT) - self.of(unit, method)

    def mean(self, kind: str, method: str) -> Resampled:
        """The mean over the units of a kind."""
        return _mean([self.of(unit, method) for unit in self.units(kind)])

    def added(self, kind: str, alone: str) -> Resampled:
        """What encoders that were not trained on a kind's units find by both senses beyond what they find by one."""
        found = [self.precision[unit] for unit in self.units(kind)]
        return _mean([gained(of[LEFT_OUT], of[alone], self._resampling) for of in found])

    @property
    def origins(self) -> list[str]:
        """Where networks without a task come from, of which any finds another of its origin."""
        return [name for name, found in self.strangers.found.items() if len(found[SHAPES][0].queries)]

    def strange(self, origin: str, method: str) -> Resampled:
        """MAP of networks of one origin, as those without a task find each other."""
        return over_seeds(self.strangers.found[origin][method], self._strange)

    def losses(self) -> list[str]:
        """Where raw responses are ahead of what was trained on the others, where a sense adds nothing to the other, and
        where shapes alone tell as much of networks without a task, a sentence each."""
        lines = []
        for kind in self.kinds:
            for unit in self.units(kind):
                lead = self.lead(unit, RAW).estimate
                if lead.mean < 0:
                    lines.append(
                        f"Trained without the {kind} {unit.name}, PEACE is behind raw responses by {-lead.mean:.3f} "
                        f"[{-lead.high:.3f}, {-lead.low:.3f}]."
                    )
            for alone, added in ((ANSWERS_LEFT_OUT, "weights"), (WEIGHTS_LEFT_OUT, "answers")):
                gain = self.added(kind, alone).estimate
                if not gain.low > 0:
                    lines.append(
                        f"For what was left out by {kind}, {added} add nothing sure to the other sense: "
                        f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]."
                    )
        for origin in self.origins:
            lead = (self.strange(origin, WEIGHTS_ALONE) - self.strange(origin, SHAPES)).estimate
            if not lead.low > 0:
                lines.append(
                    f"Of networks of {origin}, PEACE finds no surely more than their shapes alone: {lead.mean:+.3f} "
                    f"[{lead.low:+.3f}, {lead.high:+.3f}]."
                )
        return lines

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``kind/name/method`` with ``_low`` and ``_high``, and ``strangers/origin/method``."""
        flat = {"seed": float(self.seed), "losses": float(len(self.losses()))}
        for kind in self.kinds:
            for unit in self.units(kind):
                for method in METHODS:
                    flat |= _flat(f"{kind}/{unit.name}/{method}", self.of(unit, method))
                flat[f"{kind}/{unit.name}/queries"] = float(self.queries(unit))
            for method in METHODS:
                flat |= _flat(f"{kind}/mean/{method}", self.mean(kind, method))
        for origin in self.origins:
            for method in TITLES:
                flat |= _flat(f"strangers/{origin}/{method}", self.strange(origin, method))
        return {name: value for name, value in flat.items() if np.isfinite(value)}

    def headline(self) -> dict[str, float]:
        """The figures that the lineage shows."""
        shown = {
            f"MAP, {kind} {said}": self.mean(kind, method).value
            for kind in self.kinds
            for method, said in ((LEFT_OUT, "left out"), (TRAINED_ON, "trained on"))
        }
        return {name: value for name, value in shown.items() if np.isfinite(value)}


def _mean(found: Sequence[Resampled]) -> Resampled:
    return Resampled(
        float(np.mean([each.value for each in found])), np.mean([each.draws for each in found], axis=0)
    )


def _flat(name: str, figure: Resampled) -> dict[str, float]:
    found = figure.estimate
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
