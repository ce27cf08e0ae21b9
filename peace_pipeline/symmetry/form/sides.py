"""What writes a group and what reads it, as two matrices of which any map between them leaves the product."""

from __future__ import annotations

import torch

from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import LINEAR
from peace_pipeline.symmetry.wiring.types import Axis, Group, WiredLayer, Wiring


class Sides:
    """What writes a group and what reads it: ``written`` and ``read`` (batch, maps, n, columns), biases of layers
    whose outputs run over the group as one more column; :meth:`put` gives the tensors for new values of both.

    A layer on whose other side any map is free too (a factor of LoRA) is seen through: its columns are those of its
    product with the layers there.
    """

    def __init__(self, wiring: Wiring, tensors: Tensors, group: Group) -> None:
        self._tensors = tensors
        whole = LINEAR in group.actions
        self._maps = 1 if whole else group.size // group.bundle
        self._width = group.entries if whole else group.width
        self._pieces: dict[int, list[tuple[str, Axis]]] = {1: [], -1: []}
        seen: dict[int, list[torch.Tensor]] = {1: [], -1: []}
        self._through = False
        for layer, axis in wiring.touching(group.name):
            if not axis.charge:
                continue
            self._pieces[axis.charge].append((layer.weight, axis))
            product = None if whole else _product(wiring, tensors, layer, axis)
            self._through |= product is not None
            seen[axis.charge].append(
                self._columns(tensors[layer.weight] if product is None else product, axis)
            )
            bias = layer.layer.tensors.get("bias") if axis is layer.out else None
            if bias:
                self._pieces[axis.charge].append((bias, axis))
                seen[axis.charge].append(self._columns(tensors[bias], axis))
        self.written, self.read = (torch.cat(seen[charge], -1) for charge in (1, -1))

    def _columns(self, tensor: torch.Tensor, axis: Axis) -> torch.Tensor:
        front = tensor.movedim(1 + axis.dim, 1)
        units = front.reshape(len(front), self._maps, -1, self._width, front[0, 0].numel() * axis.block)
        return units.transpose(2, 3).flatten(3)

    def put(self, written: torch.Tensor, read: torch.Tensor) -> Tensors:
        """The tensors by name."""
        new: Tensors = {}
        for charge, old, side in ((1, self.written, written), (-1, self.read, read)):
            own = [self._columns(self._tensors[name], axis) for name, axis in self._pieces[charge]]
            if self._through:
                side = torch.linalg.lstsq(old.mT, side.mT).solution.mT @ torch.cat(own, -1)
            pieces = side.split([columns.shape[-1] for columns in own], -1)
            for (name, axis), columns in zip(self._pieces[charge], pieces, strict=True):
                front = self._tensors[name].movedim(1 + axis.dim, 1)
                repeated = front.shape[1] // (self._maps * self._width * axis.block)
                units = columns.unflatten(3, (repeated, -1)).transpose(2, 3)
                new[name] = units.reshape(front.shape).movedim(1, 1 + axis.dim)
        return new


def _product(wiring: Wiring, tensors: Tensors, layer: WiredLayer, axis: Axis) -> torch.Tensor | None:
    """A matrix times those on its other side than ``axis``, where any map between them is free."""
    other = layer.into if axis is layer.out else layer.out
    if other is None or LINEAR not in wiring.groups[other.group].actions:
        return None
    if axis is layer.out:
        rows = [matrix(tensors[writer.weight], writer.out) for writer in wiring.writers(other.group)]
        return tensors[layer.weight] @ torch.cat(rows, -1)
    return (
        torch.cat([onward(wiring, tensors, reader) for reader in wiring.readers(other.group)], 1)
        @ tensors[layer.weight]
    )


def is_chained(wiring: Wiring, layer: WiredLayer) -> bool:
    """Whether what a matrix writes can be mixed freely too: its rows are in no canonical form yet."""
    return LINEAR in wiring.groups[layer.out.group].actions and len(layer.layer.shape) == 2


def onward(wiring: Wiring, tensors: Tensors, layer: WiredLayer) -> torch.Tensor:
    """The matrices (batch, out, in) from what a layer reads to the next groups that can't be mixed freely."""
    weight = tensors[layer.weight]
    if not is_chained(wiring, layer):
        return weight.movedim(2, -1).flatten(1, -2) if weight.dim() > 3 else weight
    return torch.cat(
        [onward(wiring, tensors, next_) @ weight for next_ in wiring.readers(layer.out.group)], 1
    )


def matrix(weight: torch.Tensor, axis: Axis) -> torch.Tensor:
    """A weight (batch, *shape) as (batch, entries, columns)."""
    front = weight.movedim(1 + axis.dim, 1)
    return front.reshape(len(front), front.shape[1] // axis.block, -1)
