"""Neurons of which a byte budget left something in every tensor: no others can be kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.types import Axis, WiredLayer, Wiring
from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.tensors import TensorInfo


def available_neurons(wiring: Wiring, infos: Mapping[str, TensorInfo]) -> Tensors:
    """Group of the folded wiring → its neurons (n,) that every tensor has, for groups of which some tensor was read in
    part.

    Raises:
        ExcessiveSize: where a byte budget left nothing of a group.
    """
    had: Tensors = {}
    for wired, folded in zip(wiring.layers, wiring.folded.layers, strict=True):
        for name, axes in _tensor_axes(wired, folded):
            part = infos[name].part
            if part is None or part.axis not in axes:
                continue
            for group, neurons in _owners(wiring.folded, axes[part.axis], part.index):
                others = had.get(group, neurons)
                had[group] = neurons[torch.isin(neurons, others)]
                if not len(had[group]):
                    raise ExcessiveSize(f"the byte budget leaves nothing of {wired.layer.name}")
    return had


def _tensor_axes(wired: WiredLayer, folded: WiredLayer) -> Iterator[tuple[str, dict[int, Axis]]]:
    """Each tensor of a layer and its norms, with the (folded) axes by dimension."""
    for layer in wired.own:
        for name in layer.tensors.values():
            if name == wired.weight and folded.into and wired.into:
                yield name, {wired.into.dim: folded.into, wired.out.dim: folded.out}
            else:
                yield name, {wired.out.dim if name == wired.weight else 0: folded.out}
    for name in wired.before.tensors.values() if wired.before and folded.into else ():
        assert folded.into
        yield name, {0: replace(folded.into, block=1)}


def _owners(wiring: Wiring, over: Axis, index: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The neurons, by group, all of whose positions on an axis are among ``index``."""
    neurons, present = (index // over.block).unique(return_counts=True)
    neurons = neurons[present == over.block]
    group = wiring.groups[over.group]
    if over.bundled:
        units = neurons // group.width * group.bundle
        first = units * group.width + neurons % group.width
        neurons = (first[:, None] + torch.arange(group.bundle) * group.width).flatten().sort().values
    for leaf, start in wiring.leaves(over.group):
        size = wiring.groups[leaf].entries
        yield leaf, neurons[(neurons >= start) & (neurons < start + size)] - start
