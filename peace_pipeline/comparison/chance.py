"""What chance gives: a network like another whose units are none of the other's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from scipy.fft import dct

from peace_pipeline.comparison.alignment import Aligned, Layers
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import LINEAR, MIX, ORTHOGONAL, PERMUTE, ROTATE
from peace_pipeline.symmetry.wiring.types import Axis, Wiring

_MAPPED = {MIX, ROTATE, LINEAR, ORTHOGONAL}
"""Symmetries under which mixed units are the same ones."""


@dataclass(frozen=True)
class Mixing:
    """A network whose hidden units are mixed: their deviations from their mean are turned, in each group by one map, so
    that what they read and write together stays (the covariances along all other axes), and which of them does what is
    lost. Networks that were trained apart on the same data have about that in common. The values of layers without such
    units are in random order.

    Units are turned by random signs and a cosine transform in random order, an orthogonal map that costs n log n (Ailon
    and Chazelle 2009, §3, with cosines for Hadamard's matrix). ``shapes`` are those that the layers' weights have in
    the network's file: what they are filled up with behind these, where the other network has more units, stays.
    """

    network: Aligned
    shapes: Sequence[Sequence[int]]

    def layers(self, seed: int) -> Layers:
        """The layers of one such network."""
        wiring = self.network.wiring

        def read(position: int) -> Tensors:
            tensors, runs = self.network.layer(position), list(self._runs(position))
            for axis, leaf, entries in runs:
                is_written = axis is wiring.layers[position].out
                tensors = _mixed(tensors, axis, entries, [seed, crc32(leaf.encode())], is_written)
            return tensors if runs else self._reordered(position, tensors, seed)

        return read

    def is_turned(self, position: int) -> bool:
        """Whether no units of a layer can be mixed, as any map of some leaves the network's function as it is."""
        wiring = self.network.wiring
        leaves = (leaf for axis in wiring.layers[position].axes for leaf, _ in wiring.leaves(axis.group))
        return not any(self._runs(position)) and any(_MAPPED & _actions(wiring, leaf) for leaf in leaves)

    def _runs(self, position: int) -> Iterator[tuple[Axis, str, slice]]:
        """The axes of a layer along which units can be mixed, with the units' group and their entries."""
        wiring, shape = self.network.wiring, self.shapes[position]
        wired = wiring.layers[position]
        for axis in [wired.out] if wired.is_diagonal else wired.axes:
            own = shape[axis.dim] // axis.block
            for leaf, start in [] if axis.bundled else wiring.leaves(axis.group):
                entries = slice(start, min(start + wiring.groups[leaf].entries, own))
                if entries.stop - start > 1 and _actions(wiring, leaf) & {PERMUTE, *_MAPPED} == {PERMUTE}:
                    yield axis, leaf, entries

    def _reordered(self, position: int, tensors: Tensors, seed: int) -> Tensors:
        generator = torch.Generator().manual_seed(seed + position)
        found = {role: tensor.clone() for role, tensor in tensors.items()}
        for tensor in found.values():
            values = tensor[tuple(map(slice, self.shapes[position][: tensor.dim()]))]
            order = torch.randperm(values.numel(), generator=generator)
            values.copy_(values.flatten()[order].view(values.shape))
        return found


def _actions(wiring: Wiring, leaf: str) -> set[str]:
    return {action for name in wiring.bases(leaf) for action in wiring.groups[name].actions}


def _mixed(tensors: Tensors, axis: Axis, entries: slice, seed: list[int], is_written: bool) -> Tensors:
    """A layer of which some entries are mixed along an axis, biases too where it writes them."""
    found = dict(tensors)
    front = tensors["weight"].movedim(axis.dim, 0)
    rows = front.reshape(len(front) // axis.block, -1)
    has_bias = is_written and "bias" in tensors
    rows = torch.cat([rows, tensors["bias"][:, None]], 1) if has_bias else rows.clone()
    own, random = rows[entries], np.random.default_rng(seed)
    mean = own.mean(0)
    turned = (own - mean).mul_(torch.from_numpy(random.choice([-1.0, 1.0], (len(own), 1))))
    turned = turned[torch.from_numpy(random.permutation(len(own)))]
    own.copy_(torch.from_numpy(dct(turned.numpy(), axis=0, norm="ortho", overwrite_x=True)).add_(mean))
    if has_bias:
        found["bias"], rows = rows[:, -1], rows[:, :-1]
    found["weight"] = rows.reshape(front.shape).movedim(0, axis.dim)
    return found
