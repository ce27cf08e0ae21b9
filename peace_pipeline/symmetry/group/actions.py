"""How group elements act on a network's tensors.

Tensors are a mapping name → (batch, *shape): ``batch`` networks of one wiring at a time. All functions return
a new mapping and leave the given one as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from peace_pipeline.symmetry.form.folding import affine
from peace_pipeline.symmetry.group.elements import Element, Tensors
from peace_pipeline.symmetry.wiring.symmetries import GAIN, SHIFT, SHUFFLE
from peace_pipeline.symmetry.wiring.types import Axis, WiredLayer, Wiring

Read = Callable[[str], torch.Tensor]


def inverse(wiring: Wiring, element: Element) -> Element:
    """The element that undoes another: acting with both gives the tensors back, bit for bit where the other permutes,
    changes signs and scales by powers of two.

    Where streams or channels beside norms were mixed, the norms' gains were absorbed (Ashkboos et al. 2024): then the
    function comes back, and all tensors but those gains and the weights that took them up.
    """
    forth = Action(wiring, element)
    orders = {name: forth.undone(name) for name in element.permutations}
    back = Action(wiring, Element(orders))
    linear = Element(
        back.element.permutations,
        {
            name: back._permuted(1 / scale, 1, Axis(name))
            for name, scale in element.scales.items()
            if forth._maps(name) is None
        },
        {name: _undone(back, name, maps, element.scales.get(name)) for name, maps in element.maps.items()},
        flips={name: back._permuted(flips, 1, Axis(name)) for name, flips in element.flips.items()},
    )
    action = Action(wiring, linear)
    offsets = {name: -action.written(values, 1, Axis(name)) for name, values in element.offsets.items()}
    return replace(linear, offsets=offsets)


def _undone(back: Action, name: str, maps: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """The maps that undo others, and the ``scale`` after them; ``back`` undoes the permutations."""
    undone = torch.linalg.inv(maps)
    if scale is not None:
        undone = undone / scale.view(*maps.shape[:2], 1, -1)
    if back.wiring.groups[name].entries == maps.shape[-1]:
        rows = back._permuted(undone[:, 0], 1, Axis(name))
        return back._permuted(rows, 2, Axis(name))[:, None]
    return back._permuted(undone.flatten(1, 2), 1, Axis(name, bundled=True)).view_as(maps)


class Action:
    """An element acting on networks of a wiring, layer by layer."""

    def __init__(self, wiring: Wiring, element: Element) -> None:
        self.wiring, self.element = wiring, element
        self._inverses = {name: torch.linalg.inv(maps).mT for name, maps in element.maps.items()}

    def layer(self, wired: WiredLayer, read: Read) -> Tensors:
        """The new tensors (name → (batch, *shape)) that a layer (and the norm after it) has; ``read`` gives old ones.

        The bias of a layer takes up what its inputs were moved by. A norm after it is only set to what it computes
        anyway where its channels are mixed.
        """
        layer = {role: read(name) for role, name in wired.layer.tensors.items()}
        norm = {role: read(name) for role, name in wired.norm.tensors.items()} if wired.norm else {}
        if wired.layer.is_norm:
            return self._named(wired, self._of_norm(wired, layer), {})
        if wired.into and not wired.is_diagonal:
            layer["weight"] = self._read_from(wired, layer["weight"], read)
            offset = self._offset(wired.into)
            if offset is not None and "bias" in layer:
                layer["bias"] = layer["bias"] - _applied(layer["weight"], wired, offset)
        if norm and self._maps(wired.out.group) is not None:
            layer, norm = _folded(layer, norm, wired)
        layer, norm = self._written_to(wired, layer, norm)
        if wired.into and wired.is_diagonal:
            layer["weight"] = self._scaled(layer["weight"], 1 + wired.into.dim, wired.into)
        return self._named(wired, layer, norm)

    def norm(self, group: str, read: Read) -> Tensors:
        """The new tensors of the norm that writes a group of normalised neurons."""
        norm = self.wiring.norm_before(group)
        assert norm is not None
        gain, scale = read(norm.tensors["gain"]), self.element.scales.get(group)
        mixed = self._maps(group) is not None
        acted = {"gain": torch.ones_like(gain) if mixed else self._permuted(gain, 1, Axis(group))}
        if "shift" in norm.tensors:
            acted["shift"] = self._permuted(read(norm.tensors["shift"]), 1, Axis(group))
        if scale is not None:
            acted = {role: value * scale.to(value.dtype) for role, value in acted.items()}
        offset = self.element.offsets.get(group)
        if offset is not None:
            acted["shift"] = acted["shift"] + offset.to(gain.dtype)
        return {norm.tensors[role]: value for role, value in acted.items()}

    def _of_norm(self, wired: WiredLayer, layer: Tensors) -> Tensors:
        """A norm of single channels, or a gain that nothing is folded into."""
        acted = {}
        for role, tensor in layer.items():
            moved = self._permuted(tensor, 1 + wired.out.dim, wired.out)
            if role in ("gain", "weight", "shift", "bias"):
                moved = self._scaled(moved, 1 + wired.out.dim, wired.out)
            if wired.into and role in ("gain", "weight"):
                moved = self._scaled(moved, 1 + wired.into.dim, wired.into)
            if wired.into and role == "mean":
                moved = self._scaled(moved, 1, Axis(wired.into.group))
            acted[role] = moved
        return acted

    def _read_from(self, wired: WiredLayer, weight: torch.Tensor, read: Read) -> torch.Tensor:
        """A weight whose inputs were acted on."""
        assert wired.into is not None
        dim = 1 + wired.into.dim
        if wired.before and self._maps(wired.into.group) is not None:
            weight = weight * along(read(wired.before.tensors["gain"]), weight, dim, wired.into.block)
        weight = self._permuted(weight, dim, wired.into)
        return self._scaled(self._mapped(weight, dim, wired.into), dim, wired.into)

    def _written_to(self, wired: WiredLayer, layer: Tensors, norm: Tensors) -> tuple[Tensors, Tensors]:
        """A layer and the norm after it whose outputs are acted on."""
        out = wired.out
        inner = self.element.scales.get(wired.norm.name) if wired.norm else None
        last = norm or layer
        for tensors in (layer, norm):
            for role, tensor in tensors.items():
                dim = 1 + (out.dim if tensors is layer and role == "weight" else 0)
                moved = self._permuted(tensor, dim, out)
                if role in ("weight", "bias") or (tensors is norm and role == "shift"):
                    moved = self._mapped(moved, dim, out)
                if tensors is last and role in ("weight", "bias", "gain", "shift"):
                    moved = self._scaled(moved, dim, out)
                if inner is not None and (tensors is layer or role == "mean"):
                    moved = moved * along(inner, moved, dim).to(moved.dtype)
                elif inner is not None and role == "gain":
                    moved = moved / inner.to(moved.dtype)
                tensors[role] = moved
        offset = self.element.offsets.get(out.group)
        if offset is not None and out.charge == 1 and "bias" in layer:
            layer["bias"] = layer["bias"] + self._bundled(offset, out).to(layer["bias"].dtype)
        return layer, norm

    @staticmethod
    def _named(wired: WiredLayer, layer: Tensors, norm: Tensors) -> Tensors:
        named = {wired.layer.tensors[role]: value for role, value in layer.items()}
        return named | (
            {wired.norm.tensors[role]: value for role, value in norm.items()} if wired.norm else {}
        )

    def _offset(self, into: Axis) -> torch.Tensor | None:
        """What the entries of an in axis were moved by, and its readers have to take up."""
        group = self.wiring.groups[into.group]
        offset = self.element.offsets.get(group.name) if SHIFT in group.actions else None
        return self.element.flips.get(group.name) if offset is None else offset

    def _permuted(self, tensor: torch.Tensor, dim: int, over: Axis) -> torch.Tensor:
        if not self.element.permutations:
            return tensor
        order = self.wiring.order(over.group)
        parts = self.wiring.groups[order].parts
        if parts:
            return self._by_part(tensor, dim, over, parts, self._permuted)
        group, index = self.wiring.groups[over.group], self.element.permutations.get(order)
        if index is not None:
            if over.bundled:
                index = index[:, :: group.bundle] // group.bundle
            tensor = take(tensor, dim, entries(index, group.width * over.block))
        within = self.element.permutations.get(group.name) if SHUFFLE in group.actions else None
        return tensor if within is None else take(tensor, dim, entries(within, over.block))

    def undone(self, name: str) -> torch.Tensor:
        """The order that undoes the one of a group: of entries within units, after the units are back."""
        index = self.element.permutations[name].argsort(1)
        group = self.wiring.groups[name]
        units = self.element.permutations.get(self.wiring.order(name))
        if SHUFFLE not in group.actions or units is None:
            return index
        forth = entries(units, group.width)
        return forth.gather(1, index.gather(1, forth.argsort(1)))

    def _mapped(self, tensor: torch.Tensor, dim: int, over: Axis) -> torch.Tensor:
        """A tensor under the group's maps (by charge), whose axis is (maps, n, block)."""
        maps = self._maps(over.group, inverse=over.charge < 0)
        if maps is None or over.charge == 0:
            return tensor
        if not over.bundled:
            units = self.wiring.groups[over.group].entries // maps.shape[2]
            maps = maps.repeat_interleave(units // maps.shape[1], 1)
        front = tensor.movedim(dim, 1)
        rows = front.reshape(len(front), maps.shape[1], maps.shape[2], -1)
        return (maps.to(tensor.dtype) @ rows).reshape(front.shape).movedim(1, dim)

    def written(self, tensor: torch.Tensor, dim: int, out: Axis) -> torch.Tensor:
        """A tensor whose dimension ``dim`` (the batch counts) runs over a group, acted on as what writes the group."""
        return self._scaled(self._mapped(self._permuted(tensor, dim, out), dim, out), dim, out)

    def _maps(self, name: str, *, inverse: bool = False) -> torch.Tensor | None:
        maps = self._inverses if inverse else self.element.maps
        return next((maps[above] for above in self.wiring.above(name) if above in maps), None)

    def _scaled(self, tensor: torch.Tensor, dim: int, over: Axis) -> torch.Tensor:
        if over.charge == 0:
            return tensor
        parts = self.wiring.groups[over.group].parts
        if parts:
            return self._by_part(tensor, dim, over, parts, self._scaled)
        scale = self._scale(over.group)
        if scale is None:
            return tensor
        return tensor * along(self._bundled(scale, over) ** over.charge, tensor, dim, over.block).to(
            tensor.dtype
        )

    def _scale(self, name: str) -> torch.Tensor | None:
        """Factors of a group's entries: their own, times those of the stream that a norm of it follows."""
        group = self.wiring.groups[name]
        own, flips = self.element.scales.get(name), self.element.flips.get(name)
        found = [scale for scale in (own, None if flips is None else 1 - 2 * flips) if scale is not None]
        if GAIN in group.actions and group.along and (above := self._signs(group.along)) is not None:
            found.append(above)
        return None if not found else found[0] if len(found) == 1 else found[0] * found[1]

    def _signs(self, stream: str) -> torch.Tensor | None:
        scale = self.element.scales.get(stream)
        return None if scale is None else scale.sign()

    def _bundled(self, values: torch.Tensor, over: Axis) -> torch.Tensor:
        """Values of a group's entries on an axis that may have one unit a bundle."""
        group = self.wiring.groups[over.group]
        if not over.bundled:
            return values
        return values.unflatten(1, (group.size, group.width))[:, :: group.bundle].flatten(1)

    def _by_part(
        self,
        tensor: torch.Tensor,
        dim: int,
        over: Axis,
        parts: tuple[str, ...],
        act: Callable[[torch.Tensor, int, Axis], torch.Tensor],
    ) -> torch.Tensor:
        sizes = [self.wiring.groups[part].entries * over.block for part in parts]
        axes = [Axis(part, over.block, over.dim, over.charge) for part in parts]
        pieces = zip(tensor.split(sizes, dim), axes, strict=True)
        return torch.cat([act(piece, dim, axis) for piece, axis in pieces], dim)


def act(wiring: Wiring, tensors: Mapping[str, torch.Tensor], element: Element) -> Tensors:
    """The same function in other coordinates of its hidden units; works before and after folding."""
    acted, action = dict(tensors), Action(wiring, element)
    for wired in wiring.layers:
        acted |= action.layer(wired, tensors.__getitem__)
    for group in dict.fromkeys(wired.into.group for wired in wiring.layers if wired.into and wired.before):
        acted |= action.norm(group, tensors.__getitem__)
    return acted


def _folded(layer: Tensors, norm: Tensors, wired: WiredLayer) -> tuple[Tensors, Tensors]:
    """A layer that its norm is folded into, and the norm as it then does nothing (but add)."""
    gain, shift, mean, var = (norm.get(role) for role in ("gain", "shift", "mean", "var"))
    scale, offset = affine(gain, shift, mean, var, wired.eps)
    rows = layer["weight"] * along(scale, layer["weight"], 1 + wired.out.dim)
    bias = offset if "bias" not in layer else layer["bias"] * scale + offset
    still = {"gain": torch.ones_like(scale) if var is None else torch.sqrt(var + wired.eps), "shift": bias}
    still |= {role: torch.zeros_like(norm[role]) for role in ("mean",) if role in norm}
    still |= {"var": var} if var is not None else {}
    return {"weight": rows} | ({"bias": torch.zeros_like(bias)} if "bias" in layer else {}), still


def _applied(weight: torch.Tensor, wired: WiredLayer, values: torch.Tensor) -> torch.Tensor:
    """The weight (batch, *shape) applied to a constant (batch, in): (batch, out)."""
    assert wired.into is not None
    columns = weight * along(values, weight, 1 + wired.into.dim, wired.into.block).to(weight.dtype)
    return columns.movedim(1 + wired.out.dim, 1).flatten(2).sum(2)


def take(tensor: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """Entries of ``tensor`` (batch, …) along ``axis`` by a separate ``index`` (batch, n) for each network, or one
    (1, n) for all of them."""
    if len(tensor) == len(index) == 1:  # columns four times as fast as with a dimension of size 1 in front
        return tensor[0].index_select(axis - 1, index[0])[None]
    if len(index) == 1:
        return tensor.index_select(axis, index[0])
    shape = [1] * tensor.dim()
    shape[0], shape[axis] = index.shape
    size = list(tensor.shape)
    size[axis] = index.shape[1]
    return tensor.gather(axis, index.view(shape).expand(size))


def entries(index: torch.Tensor, block: int) -> torch.Tensor:
    """Neuron indices (batch, n) → indices of the entries that they own (batch, n·block)."""
    return (index[..., None] * block + torch.arange(block)).flatten(1)


def along(values: torch.Tensor, tensor: torch.Tensor, axis: int, block: int = 1) -> torch.Tensor:
    """Per-neuron ``values`` (batch, n), repeated ``block`` times and shaped to broadcast along ``axis``."""
    shape = [1] * tensor.dim()
    shape[0], shape[axis] = values.shape[0], values.shape[1] * block
    return values.repeat_interleave(block, 1).view(shape)
