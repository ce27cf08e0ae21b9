"""Operations that put values in other places: views, cuts, concatenations, look-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from peace_pipeline.symmetry.wiring.symmetries import FLIP
from peace_pipeline.symmetry.wiring.tracing.labels import (
    Dim,
    Factor,
    Label,
    as_value,
    fix,
    is_parameter,
    picked,
    plain,
    position,
    positions,
    regrouped,
    restrict,
    settled,
    shape_of,
    together,
)
from peace_pipeline.symmetry.wiring.tracing.registry import Arguments, operation
from peace_pipeline.symmetry.wiring.tracing.units import EVERYTHING, LINEAR_MAPS, NOTHING, Units, joined

STACKS_STAY = {"view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "transpose", "permute",
               "select", "unbind", "clone", "contiguous", "detach", "alias"}  # fmt: skip
"""Operations after which parts of an axis may still stand one behind the other along a dimension."""


@operation(
    "clone", "detach", "alias", "_to_copy", "to", "contiguous", "lift_fresh", "dropout", "native_dropout", "positive"
)  # fmt: skip
def _same(given: Arguments, shape: Sequence[int]) -> Label:
    return given["self"] if "self" in given else given["input"]


@operation("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten")
def _reshaped(given: Arguments, shape: Sequence[int]) -> Label:
    return regrouped(given["self"], shape)


@operation("t", "transpose", "permute")
def _transposed(given: Arguments, shape: Sequence[int]) -> Label:
    label: Label = given["self"]
    order = list(range(len(label)))
    if "dims" in given:
        order = [position(dim, label) for dim in given["dims"]]
    elif "dim0" in given:
        a, b = position(given["dim0"], label), position(given["dim1"], label)
        order[a], order[b] = b, a
    else:
        order.reverse()
    return tuple(label[dim] for dim in order)


@operation("expand")
def _expanded(given: Arguments, shape: Sequence[int]) -> Label:
    new = plain(shape, uniform=True)
    label: Label = given["self"]
    kept = ((),) * (len(shape) - len(label)) + label
    return tuple(dim or bare for dim, bare in zip(kept, new, strict=True))


@operation("repeat")
def _repeated(given: Arguments, shape: Sequence[int]) -> Label:
    label: Label = given["self"]
    kept: Label = ((),) * (len(shape) - len(label)) + label
    dims: list[Dim] = []
    for dim, count, bare in zip(kept, given["repeats"], plain(shape, uniform=True), strict=True):
        if count > 1 and dim:
            fix((dim,))
            bare = plain([math.prod(factor.size for factor in dim) * count])[0]
        dims.append(dim if count == 1 else bare)
    return tuple(dims)


@operation("select")
def _selected(given: Arguments, shape: Sequence[int]) -> Label:
    label: Label = given["self"]
    at = position(given["dim"], label)
    if own := picked(label, at, given["index"]):
        return own
    label = settled(label)
    fix((label[at],))
    return as_value(label[:at]) + as_value(label[at + 1 :])


@operation("slice")
def _sliced(given: Arguments, shape: Sequence[int]) -> Label:
    label: Label = given["self"]
    at = position(given["dim"], label)
    size = math.prod(factor.size for factor in label[at])
    if shape[at] == size:
        return label
    start, _, step = slice(given.get("start"), given.get("end"), given.get("step", 1)).indices(size)
    if step != 1:
        fix((label[at],))
        return (*as_value(label[:at]), *plain([shape[at]]), *as_value(label[at + 1 :]))
    return _pieces(as_value(label), at, [start, shape[at], size - start - shape[at]])[1]


@operation("split", "unsafe_split", "split_with_sizes", "unsafe_split_with_sizes", "split_copy")
def _split(given: Arguments, shape: Sequence[int]) -> list[Label]:
    label: Label = as_value(given["self"])
    at = position(given["dim"], label)
    size = math.prod(factor.size for factor in label[at])
    sizes: Any = given.get("split_sizes", given.get("split_size"))
    if isinstance(sizes, int):
        sizes = [min(sizes, size - start) for start in range(0, size, sizes)]
    return _pieces(label, at, sizes)


def _pieces(label: Label, at: int, sizes: Sequence[int]) -> list[Label]:
    """A tensor cut along a dimension."""
    dim = label[at]
    own: list[Dim]
    if len(dim) == 1 and (units := dim[0].units):
        units.cut(accumulate(sizes))
        own, leaves = [], list(units.leaves)
        for size in sizes:
            taken: list[Units] = []
            while sum(leaf.size for leaf in taken) < size:
                taken.append(leaves.pop(0))
            piece = taken[0] if len(taken) == 1 else joined(taken) if taken else None
            bare = () if size else plain([0])[0]
            own.append((replace(dim[0], size=size, units=piece),) if size > 1 and piece else bare)
            if size == 1 and piece:
                piece.fix()
    else:
        fix((dim,))
        uniform = all(factor.uniform for factor in dim)
        own = [plain([size], uniform=uniform)[0] for size in sizes]
    return [(*label[:at], piece, *label[at + 1 :]) for piece in own]


@operation("unbind")
def _unbound(given: Arguments, shape: Sequence[int]) -> list[Label]:
    label: Label = given["self"]
    at = position(given.get("dim", 0), label)
    count = math.prod(factor.size for factor in label[at])
    return [_selected({"self": label, "dim": at, "index": number}, shape) for number in range(count)]


@operation("cat")
def _concatenated(given: Arguments, shape: Sequence[int]) -> Label:
    labels = [as_value(label) for label in given["tensors"] if len(label) == len(shape)]
    at = given.get("dim", 0) % len(shape)
    first, *others = labels
    for label in labels if others else ():
        restrict((*label[:at], *label[at + 1 :]), LINEAR_MAPS)
    for other in others:
        first = tuple(
            mine if dim == at else together(mine, its)
            for dim, (mine, its) in enumerate(zip(first, other, strict=True))
        )
    return (*first[:at], _end_to_end([label[at] for label in labels], shape[at]), *first[at + 1 :])


def _end_to_end(dims: Sequence[Dim], size: int) -> Dim:
    """The concatenation of dimensions: of units, if each is, or some of them; else of places."""
    if not any(factor.units for dim in dims for factor in dim):
        return plain([size], uniform=all(factor.uniform for dim in dims for factor in dim) and all(dims))[0]
    if all(len(dim) == 1 and dim[0].units for dim in dims):
        if any(dim[0].flipped for dim in dims):
            restrict(tuple(dims), EVERYTHING - {FLIP})
        return (Factor(size, joined(dim[0].units for dim in dims if dim[0].units)),)
    fix(tuple(dims))
    return plain([size])[0]


@operation("stack")
def _stacked(given: Arguments, shape: Sequence[int]) -> Label:
    at = given.get("dim", 0) % len(shape)
    whole = [(*label[:at], (), *label[at:]) for label in given["tensors"]]
    return _concatenated({"tensors": whole, "dim": at}, shape)


@operation("constant_pad_nd")
def _padded(given: Arguments, shape: Sequence[int]) -> Label:
    label = as_value(given["self"])
    restrict(label, NOTHING if given.get("value") else LINEAR_MAPS)
    dims = list(label)
    for at, (dim, bare) in enumerate(zip(label, plain(shape), strict=True)):
        if math.prod(factor.size for factor in dim) != shape[at]:
            fix((dim,))
            dims[at] = bare
    return tuple(dims)


@operation("index_select", "roll", "flip", "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d",
           "upsample_bicubic2d", "upsample_linear1d", "_upsample_bilinear2d_aa", "reflection_pad1d",
           "reflection_pad2d", "replication_pad2d")  # fmt: skip
def _moved(given: Arguments, shape: Sequence[int]) -> Label:
    """Weighted sums of places, the same for all units: what the weights sum to is one, unless shown by zeros."""
    label = as_value(given["self"])
    names = (given[name] for name in ("dim", "dims") if given.get(name) is not None)
    at = positions(next(names, list(range(2, len(label)))), label)
    restrict(label, LINEAR_MAPS)
    fix(tuple(label[dim] for dim in at))
    bare = plain(shape)
    return tuple(bare[dim] if dim in at else label[dim] for dim in range(len(label)))


@operation("index")
def _indexed(given: Arguments, shape: Sequence[int]) -> Label:
    """Some places along the first dimensions, or along others if they are given one after another. The matrices of some
    experts still are such as read and write."""
    label: Label = given["self"]
    is_of_experts = is_parameter(label) and len(label) > 2 and given["indices"][1:] in ([], [None])
    label = label if is_of_experts else as_value(label)
    indices: list[Label | None] = given["indices"]
    at = [dim for dim, index in enumerate(indices) if index is not None]
    fix(tuple(label[dim] for dim in at))
    for index in indices:
        fix(index or ())
    if at != list(range(at[0], at[-1] + 1)):
        fix(label)
        return plain(shape)
    width = len(shape) - (len(label) - len(at))
    new = plain(shape)[at[0] : at[0] + width]
    return (*label[: at[0]], *new, *label[at[-1] + 1 :])


def cuts_units(given: Arguments) -> bool:
    """Whether places are looked up along a dimension that has units."""
    at = [dim for dim, index in enumerate(given["indices"]) if index is not None]
    return any(factor.units and not factor.axis for dim in at for factor in given["self"][dim])


@operation("masked_scatter")
def _scattered(given: Arguments, shape: Sequence[int]) -> Label:
    """Values that are put one after another where a mask is: whole rows, where it is the same along the last axis."""
    whole, values = as_value(given["self"]), as_value(given["source"])
    is_whole = all(factor.uniform for factor in given["mask"][-1]) and len(values) > 0
    if not is_whole or shape_of(values[-1:]) != shape_of(whole[-1:]):
        for label in (whole, values):
            fix(label)
        return plain(shape)
    fix((*whole[:-1], *values[:-1]))
    return (*plain(shape[:-1]), together(whole[-1], values[-1]))


@operation("embedding")
def _embedded(given: Arguments, shape: Sequence[int]) -> Label:
    rows, columns = given["weight"]
    for factor in rows:
        if factor.axis:
            factor.axis.charges.add(-1)
    fix((rows,))
    fix(given["indices"])
    return (*plain(shape[:-1]), *as_value((columns,)))
