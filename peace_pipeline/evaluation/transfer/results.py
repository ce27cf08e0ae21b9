"""What the transfer report found: what each method's networks gave, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, wilcoxon

from peace_pipeline.evaluation.embedder import PEACE
from peace_pipeline.evaluation.metrics import Estimate
from peace_pipeline.evaluation.transfer.methods import HINDSIGHT, HYBRID, RANDOM, RECOMMENDED, TITLES, WORDED
from peace_pipeline.evaluation.transfer.outcomes import HIGHER, Choice, Outcomes
from peace_pipeline.evaluation.transfer.targets import Target
from peace_pipeline.evaluation.transfer.tuning import Budget

Floats = NDArray[np.float64]
RESAMPLES, LOTS, SURE = 2000, 5000, 0.05
OURS = (PEACE, HYBRID, RECOMMENDED, WORDED)
"""What PEACE has to choose by: likeness to queries, words beside it, and to run networks on the examples."""


@dataclass(frozen=True)
class Results:
    """Everything that the report shows; ``names`` are the candidates' model ids, ``chosen`` is method → networks;
    ``query_accuracy`` is that of the queries themselves on test examples, in the mean."""

    encoder_version: str
    seed: int
    k: int
    budget: Budget
    targets: Sequence[Target]
    seeds: int
    names: Sequence[str]
    queries: int
    query_steps: int
    query_accuracy: float
    fine_tuned: int
    outcomes: Outcomes
    chosen: Mapping[str, Choice]

    @cached_property
    def measures(self) -> dict[str, dict[str, Floats]]:
        """Method → measure → values (targets, seeds)."""
        return {name: self.outcomes.of(choice) for name, choice in self.chosen.items()}

    def estimate(self, method: str, measure: str) -> Estimate:
        """Mean over targets and seeds, and its interval."""
        return nested(self.measures[method][measure], self.seed)

    def lead(self, method: str, measure: str = "area", of: str = PEACE) -> Estimate:
        """How much better ``of`` does than ``method``, target by target and seed by seed."""
        difference = self.measures[of][measure] - self.measures[method][measure]
        return nested(difference if HIGHER[measure] else -difference, self.seed)

    @property
    def rivals(self) -> list[str]:
        """The methods that PEACE's likeness is compared with: all but hindsight."""
        return [name for name in TITLES if name not in (PEACE, HINDSIGHT)]

    def names_of(self, method: str, place: int) -> list[str]:
        """The networks that a method chooses for a target under the first seed, as they are called in their zoo."""
        return [self.names[each].rsplit("/", 1)[-1] for each in self.chosen[method][place, 0, 0]]

    def p_values(self, measure: str = "area") -> dict[str, float]:
        """Rival → p of Wilcoxon's signed-rank test that it and PEACE do equally well, a pair a target (the mean over
        seeds), by Benjamini and Hochberg corrected for as many tests as there are rivals."""
        ours = self.measures[PEACE][measure].mean(1)
        raw = [_signed_rank(ours - self.measures[name][measure].mean(1)) for name in self.rivals]
        return dict(zip(self.rivals, map(float, false_discovery_control(raw)), strict=True))

    def on_target(self, place: int, measure: str = "area", of: str = PEACE) -> float:
        """By how much the networks that ``of`` retrieves do better than random choice on one target."""
        return float(self._over_random(measure, of)[place].mean())

    def _over_random(self, measure: str, of: str) -> Floats:
        difference = self.measures[of][measure] - self.measures[RANDOM][measure]
        return difference if HIGHER[measure] else -difference

    def by_lot(self, measure: str = "area", of: str = PEACE) -> list[float]:
        """For each target p that ``of`` chooses as by lot, corrected for the number of targets (Benjamini and
        Hochberg).

        Two-sided, from ``LOTS`` random sets of as many candidates, each kept for all seeds.
        """
        raw = [self._by_lot(place, measure, of) for place in range(len(self.targets))]
        return [float(p) for p in false_discovery_control(raw)]

    def _by_lot(self, place: int, measure: str, of: str) -> float:
        candidates = self.outcomes.measured[measure][place, :, : self.outcomes.candidates].mean(0)
        candidates = candidates[~np.isnan(candidates)]
        order = np.random.default_rng(self.seed).random((LOTS, len(candidates))).argsort(1)[:, : self.k]
        lots, ours = candidates[order].mean(1), self.measures[of][measure][place].mean()
        sides = (lots >= ours).sum(), (lots <= ours).sum()
        return float(min(1.0, 2 * (1 + min(sides)) / (1 + LOTS)))

    def won(self, measure: str, of: str = PEACE) -> tuple[int, int]:
        """On how many targets ``of`` is ahead of random choice, and behind it, with a p below ``SURE``."""
        sure = np.array(self.by_lot(measure, of)) < SURE
        leads = self._over_random(measure, of).mean(1)
        return int((sure & (leads > 0)).sum()), int((sure & (leads < 0)).sum())

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``method/measure`` and ``method/lead`` of PEACE over it, with ``_low`` and ``_high``, and
        ``target/method/measure``."""
        flat = self.headline() | {
            "seed": float(self.seed),
            "seeds": float(self.seeds),
            "k": float(self.k),
            "targets": float(len(self.targets)),
            "candidates": float(self.outcomes.candidates),
            "fine_tuned": float(self.fine_tuned),
            "query_accuracy": self.query_accuracy,
        }
        for method, measures in self.measures.items():
            for measure in measures:
                flat |= _ends(f"{method}/{measure}", self.estimate(method, measure))
        for method, p in self.p_values().items():
            flat |= _ends(f"{method}/lead", self.lead(method)) | {f"{method}/lead_p": p}
        by_lot = self.by_lot()
        for of, measure in product(OURS, ("area", "steps")):
            better, worse = self.won(measure, of)
            flat |= {
                f"{of}/{measure}/targets_won": float(better),
                f"{of}/{measure}/targets_lost": float(worse),
            }
        for of in OURS[1:]:
            flat |= _ends(f"{of}/over_random", self.lead(RANDOM, of=of))
        for place, target in enumerate(self.targets):
            flat[f"{target.name}/goal"] = float(self.outcomes.goal[place])
            flat[f"{target.name}/lead_over_random"] = self.on_target(place)
            flat[f"{target.name}/lead_over_random_p"] = by_lot[place]
            for method, measures in self.measures.items():
                for name in ("area", "steps"):
                    flat[f"{target.name}/{method}/{name}"] = float(measures[name][place].mean())
        return flat

    def headline(self) -> dict[str, float]:
        """The few figures that the lineage shows."""
        area, steps = self.won("area"), self.won("steps")
        return {
            f"{PEACE}/area_over_random": self.lead(RANDOM).mean,
            f"{PEACE}/targets_ahead_of_random": float(area[0]),
            f"{PEACE}/targets_behind_random": float(area[1]),
            f"{PEACE}/targets_in_fewer_steps": float(steps[0]),
            f"{RECOMMENDED}/area_over_random": self.lead(RANDOM, of=RECOMMENDED).mean,
            f"{RECOMMENDED}/targets_in_fewer_steps": float(self.won("steps", RECOMMENDED)[0]),
        }


def nested(values: Floats, seed: int) -> Estimate:
    """Mean of values (targets, seeds) with a 95% percentile-bootstrap interval: targets are resampled, and within each
    its seeds."""
    rng = np.random.default_rng(seed)
    targets, seeds = values.shape
    rows = rng.integers(targets, size=(RESAMPLES, targets, 1))
    columns = rng.integers(seeds, size=(RESAMPLES, targets, seeds))
    low, high = np.quantile(values[rows, columns].mean((1, 2)), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def _signed_rank(differences: Floats) -> float:
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
