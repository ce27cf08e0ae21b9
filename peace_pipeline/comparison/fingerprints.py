"""What tells which tensor of one network is which of another: values, and norms that no order of units changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment

from peace_pipeline.comparison.names import alike
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.types import INDEPENDENT, Wiring

_VALUES = 4096
"""Values of a tensor that tell which other tensor it is."""
LEAST, DEVIATIONS = 0.5, 4.0
"""Correlation from which on values tell that, and how many standard deviations of chance it must be above it."""
MOST = 2048
"""Tensors of one shape: of more, names alone tell which is which."""
_NEARER = 0.1
"""Norms tell it where the next tensor lies farther by more than this factor."""

Shape = tuple[int, ...]
Prints = Mapping[str, torch.Tensor | None]
ByShape = Mapping[Shape, Sequence[str]]


def of_values(network: OpenNetwork, groups: ByShape) -> dict[str, torch.Tensor | None]:
    """Evenly spaced values of each tensor, of mean 0 and unit norm; ``None`` where all are the same."""
    return {name: _standard(network.logical.read(name).flatten()) for name in _few(groups)}


def of_norms(
    network: OpenNetwork, wiring: Wiring | None, groups: ByShape, dim: int
) -> dict[str, torch.Tensor | None]:
    """Norms of the rows (``dim`` 0) or columns (1) of each layer's weight in ascending order: no order of units changes
    them, nor an orthogonal map of the other axis. With a wiring norms are folded in as it says."""
    wanted, found = set(_few(groups)), dict[str, torch.Tensor | None]()
    read = network.logical.read
    for wired in (wiring or network.wiring).layers:
        name = wired.weight
        if name not in wanted:
            continue
        weight = folded_layer(wired, read)["weight"] if wiring else read(name)
        if weight.dim() > dim:
            norms = weight.movedim(dim, 0).flatten(1).norm(dim=1) if weight.dim() > 1 else weight.abs()
            found[name] = _chosen(norms.sort().values)
    return found


def is_wired(network: OpenNetwork) -> bool:
    """Whether it is known how a network's layers are coupled."""
    return network.wiring.method != INDEPENDENT


def paired_by_values(
    first: Sequence[str], second: Sequence[str], one: Prints, other: Prints
) -> dict[str, str]:
    """Tensors of one shape whose values are so much alike that it is no chance."""
    found = _known(first, one), _known(second, other)
    if not all(found):
        return {}
    a, b = (torch.stack(list(each.values())) for each in found)
    names = list(found[0]), list(found[1])
    agreed = a @ b.mT
    least = max(LEAST, DEVIATIONS / a.shape[1] ** 0.5)
    chosen = linear_sum_assignment((agreed + 1e-3 * alike(*names)).numpy(), maximize=True)
    return {names[0][i]: names[1][j] for i, j in zip(*chosen, strict=True) if float(agreed[i, j]) >= least}


def paired_by_norms(
    first: Sequence[str], second: Sequence[str], one: Prints, other: Prints
) -> dict[str, str]:
    """Tensors of one shape that are nearest to each other, and much nearer than to any other."""
    pairs = {}
    sides = _known(first, one), _known(second, other)
    for count in {len(norms) for norms in sides[0].values()}:
        found = [{name: x for name, x in side.items() if len(x) == count} for side in sides]
        if min(map(len, found)) == 0 or max(map(len, found)) == 1:
            continue
        names = [list(side) for side in found]
        a, b = (torch.stack(list(side.values())) for side in found)
        apart = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        for i, j in enumerate(apart.argmin(1).tolist()):
            others = torch.cat([apart[i, :j], apart[i, j + 1 :], apart[:i, j], apart[i + 1 :, j]])
            if float(apart[i, j]) < _NEARER * float(others.min()):
                pairs[names[0][i]] = names[1][j]
    return pairs


def _known(names: Iterable[str], prints: Prints) -> dict[str, torch.Tensor]:
    return {name: found for name in names if (found := prints.get(name)) is not None}


def _few(groups: ByShape) -> list[str]:
    return [name for names in groups.values() if len(names) <= MOST for name in names]


def _chosen(values: torch.Tensor) -> torch.Tensor:
    return values[:: -(-len(values) // _VALUES)].double()


def _standard(values: torch.Tensor) -> torch.Tensor | None:
    chosen = _chosen(values)
    spread = chosen - chosen.mean()
    norm = spread.norm()
    return spread / norm if float(norm) > 1e-6 * float(chosen.norm()) else None
