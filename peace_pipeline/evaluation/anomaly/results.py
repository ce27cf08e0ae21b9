"""What the report on anomalies found, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from peace_pipeline.evaluation.anomaly.detection import Detected
from peace_pipeline.evaluation.embedder import OWN, PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.representations import CHANCE, KNOW_CARDS, TITLES

ACCURACY = "accuracy"
METHOD_TITLES = {
    **TITLES,
    ACCURACY: "Metadata: accuracy in the card",
    CHANCE: "Chance",
}
KNOW_METADATA = (*KNOW_CARDS, ACCURACY)
LEARNED, FAR = "learned", "far"
WAYS = {LEARNED: "from known anomalies", FAR: "by distance from clean networks"}
EXACT, DISGUISED = "exact", "disguised"


@dataclass(frozen=True)
class Sample:
    """How many networks are drawn of each side of the split of a larger lake, to be copied."""

    train: int = 1_000
    validation: int = 300
    test: int = 500


DEFAULT = Sample()


@dataclass(frozen=True)
class Results:
    """Everything that the report shows.

    ``anomalies`` are by kind of anomaly, way of detection and method; ``copies`` by kind of copy and method.
    ``suspects`` counts test networks by what is wrong with them, ``triggered`` is how often a trigger works on
    backdoored networks and on their clean twins; ``copied`` test networks of the lake were copied.
    """

    encoder_version: str
    seed: int
    most: Sample
    suspects: Mapping[str, int]
    trios: int
    triggered: Mapping[str, float]
    copied: int
    anomalies: Mapping[str, Mapping[str, Mapping[str, Detected]]]
    copies: Mapping[str, Mapping[str, Detected]]

    def tables(self) -> dict[str, Mapping[str, Detected]]:
        """Every table by its name."""
        found = {
            f"{kind} {WAYS[way]}": methods
            for kind, ways in self.anomalies.items()
            for way, methods in ways.items()
        }
        return found | {f"{kind} copies": methods for kind, methods in self.copies.items()}

    def losses(self) -> list[str]:
        """Where another method is ahead of PEACE by the area under the ROC curve, a sentence each."""
        lines = []
        for name, methods in self.tables().items():
            rivals = [method for method in methods if method not in OWN]
            best = max(rivals, key=lambda method, of=methods: of[method].auc.value)  # type: ignore[misc]
            behind = (methods[best].auc - methods[PEACE].auc).estimate
            if behind.mean > 0:
                lines.append(
                    f"{name[0].upper()}{name[1:]}: {METHOD_TITLES[best]} has an AUC of {methods[best].auc.value:.3f}, "
                    f"PEACE {methods[PEACE].auc.value:.3f} (difference {behind.mean:.3f} [{behind.low:.3f}, "
                    f"{behind.high:.3f}])."
                )
        return lines

    def figures(self) -> dict[str, float]:
        """All figures, flat: ``what/way/method/figure`` with ``_low`` and ``_high``."""
        flat = {
            "seed": float(self.seed),
            "losses": float(len(self.losses())),
            "trios": float(self.trios),
            "copied": float(self.copied),
            **{f"suspects/{_key(kind)}": float(count) for kind, count in self.suspects.items()},
            **{f"trigger_success/{_key(kind)}": share for kind, share in self.triggered.items()},
        }
        named = {
            f"{_key(kind)}/{way}": methods
            for kind, ways in self.anomalies.items()
            for way, methods in ways.items()
        }
        named |= {f"copies/{kind}": methods for kind, methods in self.copies.items()}
        for name, methods in named.items():
            for method, detected in methods.items():
                for figure, measured in vars(detected).items():
                    found, prefix = measured.estimate, f"{name}/{method}/{figure}"
                    flat |= {prefix: found.mean, f"{prefix}_low": found.low, f"{prefix}_high": found.high}
        return {name: value for name, value in flat.items() if np.isfinite(value)}

    def headline(self) -> dict[str, float]:
        """The figures of PEACE that the lineage shows."""
        shown = {f"AUC, {kind}": ways[LEARNED][PEACE].auc for kind, ways in self.anomalies.items()}
        copied = self.copies[DISGUISED][WEIGHTS_ALONE]
        shown |= {"precision, disguised copies": copied.precision, "recall, disguised copies": copied.recall}
        return {name: figure.value for name, figure in shown.items() if np.isfinite(figure.value)}


def _key(kind: str) -> str:
    return kind.replace(" ", "_")
