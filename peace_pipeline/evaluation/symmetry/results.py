"""What the symmetry report measured, the promises that are missed, and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from peace_pipeline.evaluation.invariance import NOISE, SHARES, Invariance
from peace_pipeline.symmetry.testing import TOLERANCE


@dataclass(frozen=True)
class Results:
    """Everything that the report shows: measurements of the families' random networks, and of the lake's own by
    architecture, ``count`` networks each. ``too_few`` of the lake's networks are of architectures with
    fewer, ``too_large`` have more values than are measured.
    """

    encoder_version: str
    seed: int
    count: int
    families: Mapping[str, Invariance]
    own: Mapping[str, Invariance]
    too_few: int
    too_large: int = 0

    def missed(self) -> list[str]:
        """The promises that are not kept: a line for each row, dtype and kind of change.

        Symmetries must leave all networks where they are. Broken twins and noise are judged on the lake's own
        networks: the encoder learned from such, not from random weights.
        """
        lines = [
            f"{name}: {', '.join(f'{symmetry} {each.still[dtype][symmetry]:.0e}' for symmetry in moving)} "
            f"in {dtype_name(dtype)}"
            for measured in (self.own, self.families)
            for name, each in measured.items()
            for dtype in TOLERANCE
            if (moving := each.misses(dtype))
        ]
        for name, each in self.own.items():
            if not each.sees_broken:
                lines.append(f"{name}: broken twins move it by {', '.join(shares(each))}")
            if not each.ignores_noise:
                lines.append(f"{name}: {NOISE:.0%} noise moves it by {each.noise:.2f}")
        return lines

    def blind(self) -> list[str]:
        """Families whose random networks' broken twins move too little, or not the more the more is broken."""
        return [name for name, each in self.families.items() if not each.sees_broken]

    def restless(self) -> list[str]:
        """Families whose random networks move too far under small noise."""
        return [name for name, each in self.families.items() if not each.ignores_noise]

    def largest(self, dtype: torch.dtype) -> float:
        """The largest movement under any symmetry of any network."""
        return max(
            moved
            for measured in (self.own, self.families)
            for each in measured.values()
            for moved in each.still[dtype].values()
        )

    def figures(self) -> dict[str, float]:
        """Flat figures: of each row the movement under each symmetry, and the largest in float32; all in all."""
        flat = {
            "seed": float(self.seed),
            "networks": float(self.count),
            "missed": float(len(self.missed())),
            **{f"largest_{dtype_name(dtype)}": self.largest(dtype) for dtype in TOLERANCE},
            "families/blind": float(len(self.blind())),
            "families/restless": float(len(self.restless())),
        }
        for kind, measured in (("own", self.own), ("families", self.families)):
            for name, each in measured.items():
                values = {
                    **each.still[torch.float64],
                    "largest_float32": max(each.still[torch.float32].values()),
                    **{f"broken_{share:g}": moved for share, moved in each.broken.items()},
                    "noise": each.noise,
                    "std": each.std,
                }
                flat |= {f"{kind}/{name}/{figure}": value for figure, value in values.items()}
        return flat


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` → ``float32``."""
    return str(dtype).removeprefix("torch.")


def shares(measured: Invariance) -> list[str]:
    return [f"{measured.broken[share]:.2f}" for share in SHARES]
