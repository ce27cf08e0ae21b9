"""What chance gives: a network like another whose units are none of the other's."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import torch
from scipy.fft import dct

from peace_pipeline.comparison.alignment import Aligned, Layers
from peace_pipeline.symmetry.group.actions import along
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import LINEAR, MIX, ORTHOGONAL, PERMUTE, ROTATE
from peace_pipeline.symmetry.wiring.types import Axis, WiredLayer, Wiring

_MAPPED = {MIX, ROTATE, LINEAR, ORTHOGONAL}
"""Symmetries under which mixed units are the same ones."""


def by_chance(network: Aligned, seed: int) -> Layers:
    """The layers of a network whose hidden units are mixed: their mean stays, and so does what they read and write
    together (the covariance along all other axes), but which of them does what is lost. Networks that were trained
    apart on the same data have about that in common. The values of layers without such units are in random order.

    Units are mixed by random signs and a cosine transform in random order, an orthogonal map that costs n log n (Ailon
    and Chazelle 2009, §3, with cosines for Hadamard's matrix).
    """
    wiring = network.wiring

    def read(position: int) -> Tensors:
        wired, tensors = wiring.layers[position], network.layer(position)
        if not (runs := list(_runs(wiring, wired))):
            generator = torch.Generator().manual_seed(seed + position)
            return {role: _reordered(values, generator) for role, values in tensors.items()}
        for axis, leaf, start, count in runs:
            tensors = _mixed(tensors, axis, start, count, [seed, crc32(leaf.encode())], axis is wired.out)
        return tensors

    return read


def _runs(wiring: Wiring, wired: WiredLayer) -> Iterator[tuple[Axis, str, int, int]]:
    """The axes of a layer that run over hidden units which can be mixed, with the units' group, the first entry and the
    number of entries."""
    for axis in [wired.out] if wired.is_diagonal else wired.axes:
        for leaf, start in [] if axis.bundled else wiring.leaves(axis.group):
            group = wiring.groups[leaf]
            actions = {action for name in wiring.bases(leaf) for action in wiring.groups[name].actions}
            if PERMUTE in actions and not actions & _MAPPED and group.entries > 1:
                yield axis, leaf, start, group.entries


def _mixed(
    tensors: Tensors, axis: Axis, start: int, count: int, seed: list[int], is_written: bool
) -> Tensors:
    """A layer whose entries from ``start`` on are mixed along an axis, biases too where it writes them."""
    found = dict(tensors)
    front = tensors["weight"].movedim(axis.dim, 0)
    rows = front.reshape(len(front) // axis.block, -1)
    has_bias = is_written and "bias" in tensors
    if has_bias:
        rows = torch.cat([rows, tensors["bias"][:, None]], 1)
    turned = _turned(rows[start : start + count], seed)
    rows = torch.cat([rows[:start], turned, rows[start + count :]]) if count < len(rows) else turned
    if has_bias:
        found["bias"], rows = rows[:, -1], rows[:, :-1]
    found["weight"] = rows.reshape(front.shape).movedim(0, axis.dim)
    return found


def _turned(rows: torch.Tensor, seed: list[int]) -> torch.Tensor:
    """Rows (units, columns) about their mean, under a random orthogonal map; those of zeros stay."""
    alive, random = (rows != 0).any(1), np.random.default_rng(seed)
    own = rows[alive]
    if len(own) < 2:
        return rows
    mean = own.mean(0)
    own -= mean
    own *= torch.from_numpy(random.choice([-1.0, 1.0], (len(own), 1)))
    own = own[torch.from_numpy(random.permutation(len(own)))]
    found = rows.clone()
    found[alive] = torch.from_numpy(dct(own.numpy(), axis=0, norm="ortho", overwrite_x=True)).add_(mean)
    return found


def _reordered(values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Values in random order, but those of units that are zeros as a whole, with which a smaller network is filled
    up."""
    there = torch.ones_like(values, dtype=torch.bool)
    for dim in range(values.dim()):
        front = values.movedim(dim, 0)
        there &= along((front != 0).reshape(len(front), -1).any(1)[None], there[None], 1 + dim)[0]
    found = values.clone()
    own = values[there]
    found[there] = own[torch.randperm(len(own), generator=generator)]
    return found
