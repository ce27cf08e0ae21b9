"""What the report on the embedding space measured, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.metrics import Estimate
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.representations import CHANCE, KNOW_CARDS, TITLES, Matrix
from peace_pipeline.evaluation.resampling import Resampled
from peace_pipeline.evaluation.space.labels import ARCHITECTURE, DATASET

Labels = NDArray[np.str_]
Table = Mapping[str, Mapping[str, Resampled]]
"""What was measured (a label, a target, an action), then method → figure."""


@dataclass(frozen=True)
class Sample:
    """How many networks are drawn of each side of the split of a larger zoo."""

    train: int = 2_000
    validation: int = 500
    test: int = 1_000


DEFAULT = Sample()


@dataclass(frozen=True)
class Map:
    """A map of the test networks: ``points`` (networks, 2), and its trustworthiness (1: all neighbours on the map are
    neighbours in the space)."""

    points: Matrix
    trustworthiness: float


@dataclass(frozen=True)
class Moved:
    """How far one action moves networks of random weights, in units of the nearest other network: of ``families`` that
    have it, method → figure, and the largest by PEACE."""

    families: Sequence[str]
    ratios: Mapping[str, Resampled]
    largest: float


@dataclass(frozen=True)
class Results:
    """Everything that the report shows.

    ``labels`` are those of the ``members`` (test networks), by name. ``maps`` are by method, then by projection.
    ``silhouettes`` and ``indices`` (Davies-Bouldin) are by label, ``probes`` by target: the share of classes named, or,
    of the targets that are ``values``, of the variance explained. ``distances`` and ``nearest`` are by kind of action:
    the median distance from original to transformed network in units of the nearest other, and the share nearer than
    that. ``actions`` are the same on random networks of every family, by action.
    """

    encoder_version: str
    seed: int
    most: Sample
    networks: Mapping[str, int]
    members: Sequence[Member]
    labels: Mapping[str, Labels]
    maps: Mapping[str, Mapping[str, Map]]
    silhouettes: Table
    indices: Mapping[str, Mapping[str, float]]
    probes: Table
    values: Sequence[str]
    distances: Table
    nearest: Table
    actions: Mapping[str, Moved]

    def losses(self) -> list[str]:
        """Where another method that reads networks is ahead of PEACE, a sentence each."""
        return [
            f"By the {what} of {label} {TITLES[best]} does better: {figures[best].value:.3f}, PEACE "
            f"{figures[PEACE].value:.3f} (difference {behind.mean:.3f} [{behind.low:.3f}, {behind.high:.3f}])."
            for what, table in (("silhouette", self.silhouettes), ("linear probe", self.probes))
            for label, figures in table.items()
            if (behind := (figures[best := best_rival(figures)] - figures[PEACE]).estimate).mean > 0
        ]

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``what/label/method`` with ``_low`` and ``_high``."""
        flat = {"seed": float(self.seed), "losses": float(len(self.losses()))}
        flat |= {f"networks/{side}": float(count) for side, count in self.networks.items()}
        tables = {
            "silhouette": self.silhouettes,
            "probe": self.probes,
            "distance": self.distances,
            "nearest": self.nearest,
            "action": {action: moved.ratios for action, moved in self.actions.items()},
        }
        for name, table in tables.items():
            for label, methods in table.items():
                for method, figure in methods.items():
                    flat |= _ends(f"{name}/{label}/{method}", figure.estimate)
        for action, moved in self.actions.items():
            flat[f"action/{action}/largest"] = moved.largest
            flat[f"action/{action}/families"] = float(len(moved.families))
        for label, indices in self.indices.items():
            flat |= {f"davies_bouldin/{label}/{method}": index for method, index in indices.items()}
        for method, maps in self.maps.items():
            flat |= {
                f"trustworthiness/{each}/{method}": found.trustworthiness for each, found in maps.items()
            }
        return {name: value for name, value in flat.items() if np.isfinite(value)}

    def headline(self) -> dict[str, float]:
        """The figures of PEACE that the lineage shows."""
        shown = {
            f"silhouette of {DATASET}": self.silhouettes.get(DATASET),
            **{
                f"probe of {target}": self.probes.get(target)
                for target in (DATASET, ARCHITECTURE, "accuracy")
            },
            "distance under all symmetries": self.distances.get("all"),
        }
        values = {name: figures[PEACE].value for name, figures in shown.items() if figures}
        return {name: value for name, value in values.items() if np.isfinite(value)}


def best_rival(figures: Mapping[str, Resampled]) -> str:
    """The strongest method that is not PEACE's and reads networks."""
    rivals = [name for name in figures if name not in (PEACE, WEIGHTS_ALONE, *KNOW_CARDS, MAJORITY)]
    return max(rivals, key=lambda name: np.nan_to_num(figures[name].value, nan=-np.inf))


MAJORITY = "majority"
METHOD_TITLES = {**TITLES, CHANCE: "Chance: random vectors", MAJORITY: "Majority class, or the mean"}


def _ends(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
