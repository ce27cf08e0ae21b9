"""From where on networks are called equivalent, derived or unrelated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from peace_pipeline.lake import Lake

THRESHOLDS = "thresholds.json"


@dataclass(frozen=True)
class Thresholds:
    """The largest relative distance of any layer in equivalent networks, and the least similarity of derived ones."""

    tolerance: float
    derived: float

    @classmethod
    def of(cls, lake: Lake) -> Thresholds:
        """Those that the lake's provenance report found, else those that PEACE comes with."""
        own = lake.reports / "provenance" / THRESHOLDS
        shipped = resources.files("peace_pipeline.comparison") / THRESHOLDS
        found = json.loads(own.read_text() if own.is_file() else shipped.read_text())
        return cls(found["tolerance"], found["derived"])
