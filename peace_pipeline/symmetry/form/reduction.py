"""Large networks, one layer in memory at a time: of every large group some neurons are kept, the same in all layers.

Kept are the neurons at evenly spaced ranks of norm (those of fixed groups at evenly spaced positions, the directions of
a stream that any orthogonal map leaves as it is at evenly spaced ranks of eigenvalue). Norms are taken in the canonical
form, so the choice depends neither on the order nor on the scale of the neurons; two neurons whose norms agree up to
rounding may take each other's place. Neurons that a byte budget left out are no candidates.

Heads are cut last: what is free in them (:func:`canonical`) needs their matrices whole, on the other side cut already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

import torch

from peace_pipeline.symmetry.form.available import available_neurons
from peace_pipeline.symmetry.form.canonical import anchors, canonical
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.form.matrices import stream_basis, to_unit
from peace_pipeline.symmetry.form.reduction_limits import USUAL, Limits, kept_sizes
from peace_pipeline.symmetry.form.selection import (
    canonical_norms,
    cut_group,
    evenly_spaced,
    kept_neurons,
    needs_all_neurons,
    positions,
    resized,
)
from peace_pipeline.symmetry.form.weight_norms import as_rows, column_norms, over_columns, row_norms
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import ORTHOGONAL, SCALE
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Group, Wiring
from peace_pipeline.weights.tensors import TensorInfo

ReadAs = Callable[[str, torch.dtype | None], torch.Tensor]


class Reduction:
    """What is kept of a network with this wiring and these tensors under ``limits``; ``wiring`` describes what is kept.

    Raises:
        ExcessiveSize: where a byte budget left nothing of a group.
    """

    def __init__(self, wiring: Wiring, infos: Mapping[str, TensorInfo], limits: Limits = USUAL) -> None:
        self._whole, self._folded, self._infos = wiring, wiring.folded, infos
        self._had = available_neurons(wiring, infos)
        self._sizes = {name: group.entries for name, group in self._folded.groups.items()}
        self._sizes |= {name: len(neurons) for name, neurons in self._had.items()}
        self._kept = kept_sizes(resized(self._folded, self._sizes), self._sizes, limits)
        self._cut = {name for name, size in self._kept.items() if size < self._sizes[name]}
        self._mixed = [
            name
            for name in self._folded.groups
            if name in self._cut and name not in self._had and needs_all_neurons(self._folded, name)
        ]
        self._alone = _touched_once(self._folded).difference(self._mixed)
        self.wiring = resized(wiring, self._kept)

    def is_sampled(self, position: int) -> bool:
        """Whether a byte budget left out some of a layer's neurons, or of those that it reads."""
        axes = self._folded.layers[position].axes
        return any(self._index(axis.group, self._had) is not None for axis in axes)

    def layers(self, read: ReadAs, dtype: torch.dtype = torch.float32) -> Iterator[tuple[int, Tensors]]:
        """Position and folded tensors (``weight``, ``bias``) of each layer, of ``dtype``.

        ``read`` gives a tensor by name, of a dtype or of its own (``None``).
        """
        chosen, bases = self._choose_shared(read, dtype)
        cut = (
            (position, self._cut_layer(position, read, dtype, chosen, bases))
            for position in range(len(self._whole.layers))
        )
        yield from self._with_heads_cut(cut) if self._mixed else cut

    def tensors(self, read: ReadAs, dtype: torch.dtype = torch.float32) -> Tensors:
        """All that is kept, under the names of ``wiring.folded``, without a batch dimension."""
        return {
            f"{position}.{role}": tensor
            for position, layer in self.layers(read, dtype)
            for role, tensor in layer.items()
        }

    def _with_heads_cut(self, layers: Iterator[tuple[int, Tensors]]) -> Iterator[tuple[int, Tensors]]:
        """The layers in canonical form, with what is left of groups that were whole until now."""
        others = {name: size for name, size in self._kept.items() if name not in self._mixed}
        wiring = resized(self._folded, others)
        tensors = {f"{i}.{role}": tensor[None] for i, layer in layers for role, tensor in layer.items()}
        tensors = canonical(wiring, tensors)
        for name in self._mixed:
            norms = canonical_norms(wiring, tensors, name)
            index = norms.argsort(1)[:, evenly_spaced(norms.shape[1], self._kept[name])]
            wiring, tensors = cut_group(wiring, tensors, name, index)
        for position, wired in enumerate(wiring.layers):
            yield position, {role: tensors[name][0] for role, name in wired.layer.tensors.items()}

    def _group(self, name: str) -> Group:
        return self._folded.groups[name]

    def _index(self, name: str, chosen: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """The neurons (n,) that are chosen of a group, among all or (unless ``chosen`` is what is had) those had."""
        sizes = (lambda part: self._group(part).entries) if chosen is self._had else self._sizes.__getitem__
        batched = {part: index[None] for part, index in chosen.items()}
        index = kept_neurons(self._folded, name, batched, sizes)
        return None if index is None else index[0]

    def _cut_layer(
        self,
        position: int,
        read: ReadAs,
        dtype: torch.dtype,
        chosen: Mapping[str, torch.Tensor],
        bases: Mapping[str, torch.Tensor],
    ) -> Tensors:
        """One folded layer of which only what is chosen is kept. What can be is cut before it is converted or folded:
        all of a large layer take longer than those kept."""
        wired, axes = self._whole.layers[position], self._folded.layers[position]
        read = cache(read)  # for a layer that tells its own norms
        chosen = dict(chosen) | self._choose_alone(position, read)
        rows = self._index(axes.out.group, chosen)
        columns = self._index(axes.into.group, chosen) if axes.into and not axes.is_diagonal else None
        before_folding = columns if not (wired.before and "shift" in wired.before.tensors) else None
        layer = self._read(position, read, dtype, rows, before_folding)
        if axes.into and columns is not None and before_folding is None:
            where = positions(columns[None], axes.into, self._group(axes.into.group))[0]
            layer["weight"] = layer["weight"].index_select(1, where)
        if axes.out.group in bases:
            layer = {
                role: (bases[axes.out.group] @ as_rows(tensor)).reshape(-1, *tensor.shape[1:])
                for role, tensor in layer.items()
            }
        if axes.into and axes.into.group in bases:
            layer["weight"] = (layer["weight"].movedim(1, -1) @ bases[axes.into.group].mT).movedim(-1, 1)
        return {role: tensor.to(dtype).contiguous() for role, tensor in layer.items()}

    def _read(
        self,
        position: int,
        read: ReadAs,
        dtype: torch.dtype | None,
        rows: torch.Tensor | None = None,
        columns: torch.Tensor | None = None,
    ) -> Tensors:
        """A folded layer, as far as it is had; only the ``rows`` and ``columns`` (neurons had) that are asked for."""
        wired, axes = self._whole.layers[position], self._folded.layers[position]
        before = set(wired.before.tensors.values()) if wired.before else set()

        def part(name: str) -> torch.Tensor:
            cuts: list[tuple[Axis, Axis, torch.Tensor | None]] = []
            if name in before:
                assert wired.into is not None
                assert axes.into is not None
                cuts.append((replace(axes.into, block=1), replace(wired.into, dim=0), columns))
            else:
                is_vector = name != wired.weight
                cuts.append((axes.out, replace(wired.out, dim=0) if is_vector else wired.out, rows))
                if not is_vector and wired.into and axes.into and not wired.is_diagonal:
                    cuts.append((axes.into, wired.into, columns))
            info = self._infos[name]
            early = info.dtype in _SLICED and any(index is not None for _, _, index in cuts)
            tensor = read(name, None if early or dtype is None else dtype)
            for over, where, chosen in cuts:
                index = self._positions(over, chosen)
                if index is None:
                    continue
                if info.part and info.part.axis == where.dim:
                    index = torch.searchsorted(info.part.index, index)
                tensor = tensor.index_select(where.dim, index)
            return tensor if dtype is None else tensor.to(dtype)

        return folded_layer(wired, part)

    def _positions(self, over: Axis, chosen: torch.Tensor | None) -> torch.Tensor | None:
        """Positions on an axis of the whole tensor: of the neurons that are chosen among those had."""
        had = self._index(over.group, self._had)
        index = had if chosen is None else chosen if had is None else had[chosen]
        return None if index is None else positions(index[None], over, self._group(over.group))[0]

    def _choose_alone(self, position: int, read: ReadAs) -> Tensors:
        """Neurons of groups that no other layer touches: by this layer's norms."""
        axes = self._folded.layers[position]
        alone = [axis for axis in axes.axes if self._folded.root(axis.group) in self._cut & self._alone]
        alone = [axis for axis in alone if not self._is_fixed(axis.group)]
        if not alone:
            return {}
        weight = self._read(position, read, None)["weight"]
        return {
            axis.group: self._ranked(
                axis.group, column_norms(weight, axis.block) if axis.dim else row_norms(weight)
            )
            for axis in alone
        }

    def _choose_shared(self, read: ReadAs, dtype: torch.dtype) -> tuple[Tensors, Tensors]:
        """Neurons that are kept in groups which several layers share, and bases (kept, n) of streams: one sweep in the
        order of data flow, as in the canonical form."""
        cut = self._cut.difference(self._mixed)
        chosen = {
            name: evenly_spaced(self._sizes[name], self._kept[name]) for name in cut if self._is_fixed(name)
        }
        bases = {
            name: self._basis(name, read, dtype)
            for name in cut
            if ORTHOGONAL in self._group(name).actions and name not in self._had
        }
        wanted = cut - self._alone - chosen.keys() - bases.keys()
        scales: Tensors = {}
        for position in range(len(self._folded.layers)):
            if wanted - chosen.keys():
                self._sweep(position, read, wanted, scales, chosen)
        left = wanted - chosen.keys()  # a byte budget left no whole layer beside them
        return chosen | {name: evenly_spaced(self._sizes[name], self._kept[name]) for name in left}, bases

    def _sweep(self, position: int, read: ReadAs, wanted: set[str], scales: Tensors, chosen: Tensors) -> None:
        """Choose the neurons of the groups that a layer runs over, as far as it tells their norms.

        Those of a group that can't be scaled by their weights in; of one that can by a writer that is not scaled with
        it (a gate), else by their weights out.
        """
        axes = self._folded.layers[position]
        out, into = self._folded.root(axes.out.group), axes.into and self._folded.root(axes.into.group)
        is_first = SCALE in self._group(out).actions and out not in scales and axes.out.charge == 1
        by_rows = out in wanted - chosen.keys() and (
            SCALE not in self._group(out).actions or axes.out.charge == 0
        )
        by_rows = by_rows and not (into and needs_all_neurons(self._folded, into))
        by_columns = into in wanted - chosen.keys() and not needs_all_neurons(self._folded, out)
        if not (is_first or by_rows or by_columns):
            return
        layer = self._read(position, read, torch.float32 if self._is_folded(position) else None)
        weight, inverse = layer["weight"], self._inverse_scales(axes.into, scales)
        norms = row_norms(
            weight, None if inverse is None or axes.is_diagonal else over_columns(inverse, weight)
        )
        norms = norms * inverse if inverse is not None and axes.is_diagonal else norms
        norms = norms + layer["bias"].double().square() if "bias" in layer else norms
        if is_first:
            scales[out] = to_unit(norms.sqrt())
        if by_rows:
            chosen[out] = self._ranked(out, norms)
        if by_columns and axes.into and into:
            squares = scales[out].square() if out in scales and axes.out.charge == 1 else None
            read_norms = (
                row_norms(weight) if axes.is_diagonal else column_norms(weight, axes.into.block, squares)
            )
            chosen[into] = self._ranked(into, read_norms if inverse is None else read_norms * inverse)

    def _inverse_scales(self, into: Axis | None, scales: Tensors) -> torch.Tensor | None:
        """Squares of 1/scale of the neurons that a layer reads, where some were scaled."""
        if into is None:
            return None
        leaves = [name for name, _ in self._folded.leaves(into.group)]
        if not any(name in scales for name in leaves):
            return None
        ones = [torch.ones(self._sizes[name], dtype=torch.float64) for name in leaves]
        return torch.cat([scales.get(name, one) for name, one in zip(leaves, ones, strict=True)]) ** -2

    def _is_folded(self, position: int) -> bool:
        wired = self._whole.layers[position]
        return wired.norm is not None or wired.before is not None or wired.layer.is_norm

    def _basis(self, name: str, read: ReadAs, dtype: torch.dtype) -> torch.Tensor:
        """Directions (kept, n) of a stream."""
        matrices = []
        for anchor, axis in anchors(self._folded, self._group(name)):
            weight = self._read(self._folded.layers.index(anchor), read, dtype)["weight"]
            matrices.append(weight.movedim(axis.dim, 0).flatten(1)[None])
        ranks = evenly_spaced(self._sizes[name], self._kept[name])
        return stream_basis(matrices, ranks)[0].to(dtype)

    def _ranked(self, name: str, norms: torch.Tensor) -> torch.Tensor:
        """Positions, among the neurons that are had, of those that are kept."""
        return norms.argsort()[evenly_spaced(len(norms), self._kept[name])]

    def _is_fixed(self, name: str) -> bool:
        return self._group(name).kind == FIXED


_SLICED = ("float64", "float32", "float16", "bfloat16")


def _touched_once(wiring: Wiring) -> set[str]:
    """Groups that a single axis runs over."""
    return {name for name in wiring.groups if len(wiring.axes(name, along=True)) == 1}
