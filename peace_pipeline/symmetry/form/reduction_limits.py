"""How many neurons are kept of each group of a large network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from peace_pipeline.symmetry.form.selection import resized
from peace_pipeline.symmetry.wiring.types import Wiring


@dataclass(frozen=True)
class Limits:
    """The groups of layers of more than ``large_layer`` values are cut; in a network of many layers those of smaller
    ones too.

    Of a group that is cut ``most_units`` neurons are kept, half of that and so on to ``least_units`` in a network of
    many layers, until at most ``largest_network`` values are kept of it.
    """

    large_layer: int = 1 << 20
    most_units: int = 256
    least_units: int = 16
    largest_network: int = 1 << 24


USUAL = Limits()


def kept_sizes(wiring: Wiring, sizes: Mapping[str, int], limits: Limits) -> dict[str, int]:
    """Group → number of neurons that are kept, of the ``sizes`` that are had."""
    bound = min(limits.large_layer, limits.largest_network // max(1, len(wiring.layers)))
    large = {
        leaf
        for wired in wiring.layers
        if math.prod(wired.layer.shape) > bound
        for axis in wired.axes
        for leaf, _ in wiring.leaves(axis.group)
    }
    units = limits.most_units
    while True:
        kept = {name: min(size, units) if name in large else size for name, size in sizes.items()}
        cut = resized(wiring, {name: kept[name] for name in large})
        if (
            units <= limits.least_units
            or sum(math.prod(layer.layer.shape) for layer in cut.layers) <= limits.largest_network
        ):
            return kept
        units = max(units // 2, limits.least_units)
