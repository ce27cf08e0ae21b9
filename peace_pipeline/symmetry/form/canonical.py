"""The canonical form: one representative of all that the continuous symmetries of a network's hidden units make of it.

Of permutations it takes no account: the encoder is equivariant to them. Groups are taken in the order of data flow, so
that what a group's rows are made of is in canonical form already:

- positive scales: unit norm in, over weight and bias of the group's first writer (the forward sweep, exact at any
  depth);
- signs: a positive sum of cubes of that writer's weights and bias;
- maps between keys and queries, values and output, the two factors of LoRA, linear streams: the thin singular value
  decomposition of the product (of all layers of a linear chain), from QR of the factors, its singular values shared
  equally (compare the balanced realisations of Moore 1981, §IV); each component's sign makes a sum of cubes positive;
- rotary positions: each complex pair of keys has the norm of its queries and a real positive Σ k|k|²;
- orthogonal maps of a stream: the eigenvectors of its Gram matrix over the layers between it and inputs or outputs;
- constants: the values' bias moves into the output's, the keys' is 0 where softmax doesn't see it.

Where it is not unique: a unit whose norm in is below ``DEAD`` keeps its scale (and is silenced where nothing else
writes it), a sum of cubes of 0 keeps its sign, and between equal singular values or eigenvalues any basis is as good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from peace_pipeline.symmetry.form.matrices import (
    DEAD,
    balance,
    cubes,
    norm_of,
    or_one,
    sign_of,
    stream_basis,
    to_unit,
)
from peace_pipeline.symmetry.form.sides import Sides, is_chained, matrix, onward
from peace_pipeline.symmetry.group.actions import Action, along
from peace_pipeline.symmetry.group.elements import Element, Tensors
from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    LINEAR,
    MIX,
    NORMALISED,
    ORTHOGONAL,
    ROTATE,
    SCALE,
    SHIFT,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Group, WiredLayer, Wiring


def canonical(wiring: Wiring, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The canonical form of folded tensors (batch, *shape) under a folded wiring.

    Where only some of the neurons that a layer reads are kept, norms are estimated from them.
    """
    form = dict(tensors)
    for group in wiring.acting(*_STEPS):
        for action, step in _STEPS.items():
            if action in group.actions:
                form |= step(wiring, form, group)
    return form


def _scaled(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    """Unit norm in, and a positive sum of cubes where signs are free too."""
    writer = _first_writer(wiring, group)
    norm = norm_of(_rows(wiring, tensors, group, writer, _share(wiring, writer)))
    scale = to_unit(norm)
    if SIGN in group.actions:
        scale = scale * _signs(wiring, tensors, group)
    acted = _act(wiring, tensors, group, Element(scales={group.name: scale}))
    writers = [axis for layer, axis in wiring.axes(group.name) if axis is layer.out]
    if len(writers) == 1 and not bool((norm > DEAD).all()):
        for reader in wiring.readers(group.name):
            assert reader.into is not None
            alive = along(norm > DEAD, acted[reader.weight], 1 + reader.into.dim, reader.into.block)
            acted[reader.weight] = acted[reader.weight] * alive
    return acted


def _signed(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    if SCALE in group.actions or LINEAR in group.actions or ORTHOGONAL in group.actions:
        return {}  # their forms have signs of their own
    return _act(wiring, tensors, group, Element(scales={group.name: _signs(wiring, tensors, group)}))


def _flipped(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    flips = (1 - _signs(wiring, tensors, group)) / 2
    return _act(wiring, tensors, group, Element(flips={group.name: flips}))


def _normalised(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    """Unit root mean square of the norms in each unit."""
    rows = _rows(wiring, tensors, group, _first_writer(wiring, group))
    norm = norm_of(rows.unflatten(1, (-1, group.width)).flatten(2)) / math.sqrt(group.width)
    scale = to_unit(norm).repeat_interleave(group.entries // norm.shape[1], 1)
    return _act(wiring, tensors, group, Element(scales={group.name: scale}))


def _without_constant(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    writer = _first_writer(wiring, group)
    name = writer.layer.tensors.get("bias")
    if name is None:
        return {}
    bias = tensors[name]
    if writer.out.bundled:
        bias = bias.unflatten(1, (-1, group.width)).repeat_interleave(group.bundle, 1).flatten(1)
    return _act(wiring, tensors, group, Element(offsets={group.name: -bias}))


def _balanced(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    """The two sides of a group on which any invertible map (of each unit, or of all entries) is free."""
    sides = Sides(wiring, tensors, group)
    readers = wiring.readers(group.name)
    if any(is_chained(wiring, layer) for layer in readers):
        products = [onward(wiring, tensors, layer) for layer in readers]
        form, _ = balance(sides.written, torch.cat(products, 1).mT[:, None])
        values = form.square().sum(-1, keepdim=True)
        alive = values > values.amax(-2, keepdim=True) * torch.finfo(values.dtype).eps
        inverse = torch.where(alive, form, 0) / torch.where(alive, values, 1)
        return sides.put(form, inverse @ (sides.written.mT @ sides.read))
    free = {SCALE, SIGN, FLIP}
    if LINEAR in group.actions and any(free & {*wiring.groups[layer.out.group].actions} for layer in readers):
        return sides.put(*_balanced_with_first(wiring, sides, group))
    return sides.put(*balance(sides.written, sides.read))


def _balanced_with_first(wiring: Wiring, sides: Sides, group: Group) -> tuple[torch.Tensor, torch.Tensor]:
    """The two sides of a linear group whose readers' units may still have any scale and sign.

    Only the first writer counts, as later ones read such units too, and each unit of the readers by the norm of its
    product with that writer, which neither its scale nor the map changes.
    """
    first = math.prod(_first_writer(wiring, group).layer.shape) // group.entries
    first += "bias" in _first_writer(wiring, group).layer.tensors
    written, later = sides.written[..., :first], sides.written[..., first:]
    products = (sides.read.mT @ written).split(
        [layer.layer.shape[0] * _places(layer, group) for layer in wiring.readers(group.name)], -2
    )
    norms = [
        norm_of(product.unflatten(-2, (layer.layer.shape[0], -1)).flatten(-2)).repeat_interleave(
            _places(layer, group), -1
        )
        for product, layer in zip(products, wiring.readers(group.name), strict=True)
    ]
    norm = torch.cat(norms, -1)[..., None, :]
    read = sides.read * to_unit(norm)
    form, other = balance(written, read)
    form, other = (side * sign_of(cubes(form))[..., None] for side in (form, other))
    values = other.square().sum(-1, keepdim=True)
    alive = values > values.amax(-2, keepdim=True) * torch.finfo(values.dtype).eps
    inverse = torch.where(alive, other, 0) / torch.where(alive, values, 1)
    return torch.cat([form, inverse @ (read.mT @ later)], -1), other / to_unit(norm)


def _places(layer: WiredLayer, group: Group) -> int:
    """Number of weights between two neurons."""
    return math.prod(layer.layer.shape[1:]) // group.entries


def _turned(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    """Keys and queries under rotary positions: complex pairs (j, j + rotary/2), the entries beyond them balanced."""
    sides = Sides(wiring, tensors, group)
    rotary, half = group.rotary, group.rotary // 2
    key = torch.complex(sides.written[..., :half, :], sides.written[..., half:rotary, :])
    query = torch.complex(sides.read[..., :half, :], sides.read[..., half:rotary, :])
    norms = norm_of(torch.view_as_real(key).flatten(-2)), norm_of(torch.view_as_real(query).flatten(-2))
    alive = (norms[0] > DEAD) & (norms[1] > DEAD)
    ratio = torch.where(alive, norms[1], 1).sqrt() / torch.where(alive, norms[0], 1).sqrt()
    unit = key * to_unit(norms[0])[..., None]
    total = (unit * unit.abs().square()).sum(-1)
    phase = torch.where(total.abs() > 0, total.conj() / or_one(total.abs()), 1)
    key, query = key * (ratio * phase)[..., None], query * (phase / ratio)[..., None]
    rest = balance(sides.written[..., rotary:, :], sides.read[..., rotary:, :])
    return sides.put(*(
        torch.cat([turned.real, turned.imag, other], -2) for turned, other in zip((key, query), rest, strict=True)
    ))  # fmt: skip


def _in_own_basis(wiring: Wiring, tensors: Tensors, group: Group) -> Tensors:
    """A stream along the eigenvectors of its Gram matrix."""
    basis = stream_basis([matrix(tensors[layer.weight], axis) for layer, axis in anchors(wiring, group)])
    return _act(wiring, tensors, group, Element(maps={group.name: basis[:, None]}))


_STEPS = {
    ORTHOGONAL: _in_own_basis,
    SHIFT: _without_constant,
    FREE: _without_constant,
    LINEAR: _balanced,
    MIX: _balanced,
    ROTATE: _turned,
    NORMALISED: _normalised,
    SIGN: _signed,
    FLIP: _flipped,
    SCALE: _scaled,
}
"""Action → what takes it away, in the order in which they are done on one group."""


def anchors(wiring: Wiring, group: Group) -> Iterator[tuple[WiredLayer, Axis]]:
    """Layers between a stream and a fixed group, and their axis over the stream: no symmetry changes their Gram
    matrix. The first writer always counts, others until there are as many columns as the stream is wide."""
    first, columns = _first_writer(wiring, group), 0
    for layer, axis in wiring.touching(group.name):
        others = [other for other in layer.axes if other.group != group.name]
        fixed = all(wiring.groups[other.group].kind == FIXED for other in others)
        if columns < group.entries and (fixed or layer is first):
            columns += math.prod(layer.layer.shape) // group.entries
            yield layer, axis


def _act(wiring: Wiring, tensors: Tensors, group: Group, element: Element) -> Tensors:
    """The tensors that an element which acts on one group changes."""
    action = Action(wiring, element)
    acted: Tensors = {}
    for layer in {id(layer): layer for layer, _ in wiring.axes(group.name)}.values():
        acted |= action.layer(layer, tensors.__getitem__)
    return acted


def _first_writer(wiring: Wiring, group: Group) -> WiredLayer:
    """The first layer that the group's maps act on as they are."""
    return next(layer for layer, axis in wiring.axes(group.name) if axis is layer.out and axis.charge == 1)


def _rows(
    wiring: Wiring, tensors: Tensors, group: Group, writer: WiredLayer, share: float = 1.0
) -> torch.Tensor:
    """Weights and bias (batch, entries, columns) of each entry in the layer that writes it (of a part of what it
    writes: all places of the part). Squares of weights count 1/``share`` times."""
    out = wiring.groups[writer.out.group]
    columns = []
    for role, name in writer.layer.tensors.items():
        rows = tensors[name].flatten(2) if tensors[name].dim() > 2 else tensors[name][..., None]
        rows = rows / math.sqrt(share) if role == "weight" and share != 1.0 else rows
        if out.name == group.name:
            columns.append(rows)
        else:
            pieces = rows.split([wiring.groups[part].entries for part in out.parts], 1)
            columns += [piece for piece, part in zip(pieces, out.parts, strict=True) if part == group.name]
    return torch.cat(columns, -1)


def _share(wiring: Wiring, writer: WiredLayer) -> float:
    """The part of a layer's inputs that is kept."""
    if writer.into is None or writer.is_diagonal:
        return 1.0
    read = wiring.groups[writer.into.group]
    return read.entries / read.full_size


def _signs(wiring: Wiring, tensors: Tensors, group: Group) -> torch.Tensor:
    return sign_of(cubes(_rows(wiring, tensors, group, _first_writer(wiring, group))))
