"""What each operation of PyTorch (ATen) does to labels. Operations that are not here fix all that they touch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, TypeVar

from peace_pipeline.symmetry import wiring as w
from peace_pipeline.symmetry.tracing.labels import (
    Dim,
    Factor,
    Label,
    ParameterAxis,
    as_value,
    factors_of,
    fix,
    is_parameter,
    pairs,
    plain,
    regrouped,
    restrict,
    together,
)
from peace_pipeline.symmetry.tracing.units import EVERYTHING, LINEAR_MAPS, NOTHING, Units, joined

Arguments = dict[str, Any]
"""The arguments of an operation by name; tensors are replaced by their labels."""
Operation = Callable[[Arguments, Sequence[int]], Label | list[Label]]
"""Arguments and the shape of the (first) result → its label, or those of all results."""
OPERATIONS: dict[str, Operation] = {}
POSITIVE = frozenset({w.SCALE})
ONE_BY_ONE = frozenset({w.SCALE, w.SIGN})
ODD = frozenset({w.SIGN})


_Own = TypeVar("_Own", bound=Operation)


def operation(*names: str) -> Callable[[_Own], _Own]:
    """Decorator: what ATen operations with these names do."""

    def add(does: _Own) -> _Own:
        OPERATIONS.update(dict.fromkeys(names, does))
        return does

    return add


def _position(dim: int, label: Label) -> int:
    return dim % len(label)


def _positions(dims: int | Sequence[int] | None, label: Label) -> set[int]:
    if dims is None or dims == []:
        return set(range(len(label)))
    return {_position(dim, label) for dim in ([dims] if isinstance(dims, int) else dims)}


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
        order = [_position(dim, label) for dim in given["dims"]]
    elif "dim0" in given:
        a, b = _position(given["dim0"], label), _position(given["dim1"], label)
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
    at = _position(given["dim"], label)
    fix((label[at],))
    return as_value(label[:at]) + as_value(label[at + 1 :])


@operation("slice")
def _sliced(given: Arguments, shape: Sequence[int]) -> Label:
    label: Label = given["self"]
    at = _position(given["dim"], label)
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
    at = _position(given["dim"], label)
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
            own.append((replace(dim[0], size=size, units=piece),) if size > 1 and piece else ())
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
    at = _position(given.get("dim", 0), label)
    count = math.prod(factor.size for factor in label[at])
    return [_selected({"self": label, "dim": at}, shape)] * count


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
            restrict(tuple(dims), EVERYTHING - {w.FLIP})
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
    at = _positions(next(names, list(range(2, len(label)))), label)
    restrict(label, LINEAR_MAPS)
    fix(tuple(label[dim] for dim in at))
    bare = plain(shape)
    return tuple(bare[dim] if dim in at else label[dim] for dim in range(len(label)))


@operation("index")
def _indexed(given: Arguments, shape: Sequence[int]) -> Label:
    """Some places along the first dimensions, or along others if they are given one after another."""
    label = as_value(given["self"])
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


@operation("embedding")
def _embedded(given: Arguments, shape: Sequence[int]) -> Label:
    rows, columns = given["weight"]
    for factor in rows:
        if factor.axis:
            factor.axis.charges.add(-1)
    fix((rows,))
    fix(given["indices"])
    return (*plain(shape[:-1]), *as_value((columns,)))


def _each(keeps: frozenset[str], *names: str) -> None:
    @operation(*names)
    def does(given: Arguments, shape: Sequence[int]) -> Label:
        label = as_value(given["self"])
        restrict(label, keeps)
        return label


_each(POSITIVE, "relu", "leaky_relu", "abs")
_each(ODD, "tanh", "sin", "asinh", "atan", "erf", "sign", "sinh", "tan", "asin")
_each(LINEAR_MAPS, "neg")
_each(
    NOTHING, "gelu", "silu", "hardswish", "mish", "elu", "celu", "selu", "softplus", "log_sigmoid", "threshold", "exp",
    "expm1", "log", "log1p", "sqrt", "rsqrt", "pow", "square", "reciprocal", "cos", "clamp", "clamp_min", "clamp_max",
    "floor", "ceil", "round", "isnan", "isinf", "logical_not", "bitwise_not", "_softmax", "_safe_softmax",
    "_log_softmax",
)  # fmt: skip


@operation("hardtanh")
def _hardtanh(given: Arguments, shape: Sequence[int]) -> Label:
    label = as_value(given["self"])
    restrict(label, ODD if given.get("min_val", -1) == -given.get("max_val", 1) else NOTHING)
    return label


@operation("sigmoid", "hardsigmoid")
def _sigmoid(given: Arguments, shape: Sequence[int]) -> Label:
    """σ(−x) = 1 − σ(x): who reads it has to know."""
    label = as_value(given["self"])
    once = all(not factor.flipped for factor in factors_of(label))
    restrict(label, frozenset({w.FLIP}) if once else NOTHING)
    return tuple(tuple(replace(f, flipped=True) if f.units else f for f in dim) for dim in label)


def _rank_up(label: Label, rank: int) -> Label:
    return ((),) * (rank - len(label)) + label


def _labels(given: Arguments, *names: str) -> list[Label]:
    return [given[name] for name in names if isinstance(given.get(name), tuple)]


def _as_one(labels: Iterable[Label], rank: int) -> Label:
    """Labels of tensors of which entries are combined place by place."""
    first, *others = (_rank_up(label, rank) for label in labels)
    for other in others:
        first = tuple(together(mine, its) for mine, its in zip(first, other, strict=True))
    return first


@operation("add", "sub", "rsub")
def _added(given: Arguments, shape: Sequence[int]) -> Label:
    labels = _labels(given, "self", "other")
    values = [as_value(label) for label in labels]
    keeps = EVERYTHING if any(map(is_parameter, labels)) and len(labels) > 1 else LINEAR_MAPS
    scaled = given.get("alpha", 1) != 1 or given["name"] != "add"
    for value in values:
        restrict(value, NOTHING if len(values) == 1 else LINEAR_MAPS if scaled else keeps)
    return _as_one(values, len(shape))


@operation("maximum", "minimum", "lerp", "where", "masked_fill", "eq", "ne", "ge", "gt", "le", "lt", "atan2", "fmod",
           "remainder", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "addcmul", "addcdiv",
           "floor_divide", "bitwise_xor")  # fmt: skip
def _combined(given: Arguments, shape: Sequence[int]) -> Label:
    names = ("self", "other", "condition", "mask", "value", "end", "weight", "tensor1", "tensor2")
    values = [as_value(label) for label in _labels(given, *names)]
    for value in values:
        restrict(value, NOTHING)
    return _as_one(values, len(shape))


@operation("mul")
def _multiplied(given: Arguments, shape: Sequence[int]) -> Label:
    labels = [_rank_up(label, len(shape)) for label in _labels(given, "self", "other")]
    if len(labels) == 1:
        value = as_value(labels[0])
        restrict(value, LINEAR_MAPS)
        return value
    one, other = labels
    if is_parameter(one):
        one, other = other, one
    if is_parameter(other) and not is_parameter(one) and len(list(factors_of(other))) == 1:
        return tuple(_gained(mine, its) for mine, its in zip(one, other, strict=True))
    one, other = as_value(one), as_value(other)
    return tuple(_product(mine, its) for mine, its in zip(one, other, strict=True))


@operation("_prelu_kernel")
def _leaky(given: Arguments, shape: Sequence[int]) -> Label:
    """A leaky ReLU with slopes of its own, which move along with the units."""
    value, slope = as_value(given["self"]), as_value(given["weight"])
    restrict(value, POSITIVE)
    restrict(slope, NOTHING)
    for own, beside in zip(value, slope, strict=True):
        if beside:
            _product(own, beside)
    restrict(value, POSITIVE)
    return value


@operation("div")
def _divided(given: Arguments, shape: Sequence[int]) -> Label:
    if isinstance(given["other"], tuple):
        given = given | {"self": as_value(given["self"]), "other": as_value(given["other"])}
        restrict(given["other"], NOTHING)
    return _multiplied(given, shape)


def _gained(value: Dim, gain: Dim) -> Dim:
    """Units that are multiplied each by a parameter of its own become units of another scale."""
    axis = next((factor.axis for factor in gain if factor.axis), None)
    units = value[0].units if len(value) == 1 else None
    if axis is None:
        restrict((value,), LINEAR_MAPS)
        return value or gain
    if units is None:
        axis.use(1)
        return _product(value, as_value((gain,))[0])
    _diagonal(axis, units)
    return (Factor(units.size, axis.units),)


def _diagonal(axis: ParameterAxis, units: Units, keeps: frozenset[str] = ONE_BY_ONE) -> None:
    """The parameter multiplies the units one by one."""
    units.restrict(keeps)
    axis.units.merge_order(units)
    axis.use(1)
    if axis.into is None:
        axis.into = units
    else:
        axis.into.merge(units)
    if {*map(id, axis.into.leaves)} & {*map(id, axis.units.leaves)}:
        axis.units.restrict(NOTHING)


def _product(one: Dim, other: Dim) -> Dim:
    """Where both have units, the better of the two stays: what is multiplied with it only moves along."""
    if not one or not other:
        restrict((one, other), LINEAR_MAPS)
        return one or other
    found = pairs(one, other)
    if found is None:
        fix((one, other))
        return plain([math.prod(factor.size for factor in one)])[0]
    return tuple(_factor_product(a, b) for a, b in found)


def _factor_product(a: Factor, b: Factor) -> Factor:
    if a.units and b.units:
        if _strength(b.units) > _strength(a.units):
            return _factor_product(b, a)
        _move_along(a.units, b.units)
        return replace(a, flipped=False)
    units = a.units or b.units
    if units is None:
        return Factor(a.size, uniform=a.uniform and b.uniform)
    if (b if a.units else a).uniform:
        units.restrict(LINEAR_MAPS)
        return a if a.units else b
    units.fix()
    return Factor(a.size)


def _move_along(units: Units, other: Units) -> None:
    """The units are multiplied one by one by others, which can then only be permuted."""
    other.restrict(NOTHING)
    units.restrict(ONE_BY_ONE)
    units.merge_order(other)


def _strength(units: Units) -> int:
    return min(len(leaf.keeps & LINEAR_MAPS) for leaf in units.leaves)


def _reduced(keeps: frozenset[str], *names: str) -> None:
    @operation(*names)
    def does(given: Arguments, shape: Sequence[int]) -> Label:
        label = as_value(given["self"])
        at = _positions(given.get("dim"), label)
        restrict(label, keeps)
        restrict(tuple(label[dim] for dim in at), NOTHING)
        kept = tuple(
            () if dim in at else own for dim, own in enumerate(label) if dim not in at or given.get("keepdim")
        )
        return kept


_reduced(EVERYTHING, "mean")
_reduced(LINEAR_MAPS, "sum")
_reduced(POSITIVE, "amax", "amin", "std", "linalg_vector_norm")
_reduced(NOTHING, "var", "logsumexp", "any", "all")


def _pooled(keeps: frozenset[str], *names: str) -> None:
    @operation(*names)
    def does(given: Arguments, shape: Sequence[int]) -> Label:
        label = as_value(given["self"])
        spatial = 2 if "2d" in given["name"] else 1 if "1d" in given["name"] else 3
        restrict(label, keeps)
        fix(label[-spatial:])
        return (*label[:-spatial], *plain(shape[-spatial:]))


_pooled(LINEAR_MAPS, "avg_pool1d", "avg_pool2d", "avg_pool3d")
_pooled(EVERYTHING, "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d")
_pooled(POSITIVE, "max_pool2d_with_indices", "max_pool1d", "max_pool2d", "adaptive_max_pool2d")


@operation("mm", "bmm")
def _matrix_product(given: Arguments, shape: Sequence[int]) -> Label:
    return _times(given["self"], given["mat2"])


@operation("addmm", "baddbmm")
def _with_bias(given: Arguments, shape: Sequence[int]) -> Label:
    first, second = ("mat1", "mat2") if given["name"] == "addmm" else ("batch1", "batch2")
    product = _times(given[first], given[second])
    return _added({"self": product, "other": given["self"], "name": "add"}, shape)


def _times(one: Label, other: Label) -> Label:
    (*batch, rows, inner), (*batches, read, columns) = one, other
    contract(inner, read)
    ours, theirs = as_value((rows,)), as_value((columns,))
    for factor in factors_of((rows, columns)):
        if not factor.axis and factor.units:
            factor.units.restrict(LINEAR_MAPS)
    over = as_value(tuple(batch)), as_value(tuple(batches))
    for label in over:
        restrict(label, NOTHING)
    return (*(together(a, b) for a, b in zip(*over, strict=True)), *ours, *theirs)


def contract(one: Dim, other: Dim, keeps: frozenset[str] = EVERYTHING) -> None:
    """Sum over two dimensions: a parameter reads what the other has; of two values neither can be scaled."""
    if _reads_blocks(one, other, keeps) or _reads_blocks(other, one, keeps):
        return
    found = pairs(one, other)
    if found is None:
        fix((one, other))
        return
    for a, b in found:
        if a.axis and not b.axis:
            a, b = b, a
        if not (a.units and b.units):
            _contract_places(a, b)
        elif b.axis and not a.axis:
            b.axis.use(-1)
            a.units.restrict(keeps if a.flipped else keeps - {w.FLIP})
            a.units.merge(b.units)
        else:
            a.units.restrict(NOTHING)
            b.units.restrict(NOTHING)
            a.units.merge(b.units)


def _contract_places(a: Factor, b: Factor) -> None:
    for factor, beside in ((a, b), (b, a)):
        if factor.axis:
            factor.axis.use(-1)
        if factor.units and beside.uniform:
            factor.units.restrict(NOTHING)
        elif factor.units:
            factor.units.fix()


def _reads_blocks(parameter: Dim, value: Dim, keeps: frozenset[str]) -> bool:
    """Whether an axis reads channels each of which has several positions, one after another."""
    axis = parameter[0].axis if len(parameter) == 1 else None
    if axis is None or len(value) < 2 or any(factor.units for factor in value[1:]):
        return False
    first = value[0]
    is_new = not axis.charges and not axis.units.root.parts and axis.into is None
    if first.units is None or first.axis or not is_new:
        return False
    axis.use(-1)
    axis.inner = first.units
    first.units.restrict(keeps if first.flipped else keeps - {w.FLIP})
    return True


@operation("convolution", "_convolution", "conv2d")
def _convolved(given: Arguments, shape: Sequence[int]) -> Label:
    label, weight = as_value(given["input"]), given["weight"]
    padded = any(given["padding"]) or given["transposed"]
    batch, channels, *places = label
    restrict((batch,), NOTHING)
    fix(tuple(places))
    fix(weight[2:])
    out, into = (weight[1], weight[0]) if given["transposed"] else (weight[0], weight[1])
    keeps = LINEAR_MAPS if padded else EVERYTHING
    if given["groups"] == 1:
        contract(into, channels, keeps)
        written = as_value((out,))[0]
    elif not weight[1] and len(channels) == 1 and _is_depthwise(weight[0], channels, given["groups"]):
        axis, units = weight[0][0].axis, channels[0].units
        written = plain([shape[1]])[0]
        if axis and units:
            _diagonal(axis, units)
            written = (Factor(units.size, axis.units),)
        else:
            fix((weight[0], channels))
    else:
        fix((channels, *weight))
        written = plain([shape[1]])[0]
    if isinstance(given["bias"], tuple):
        bias = {"self": (written,), "other": given["bias"], "name": "add"}
        written = _added(bias, [shape[1]])[0]
    return (batch, written, *plain(shape[2:]))


def _is_depthwise(weight: Dim, channels: Dim, groups: int) -> bool:
    return [factor.size for factor in weight] == [factor.size for factor in channels] == [groups]


@operation("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def _batch_normed(given: Arguments, shape: Sequence[int]) -> list[Label]:
    """An affine map of each channel."""
    label = given["input"]
    parts = [given.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    axes = [_only_axis(part) for part in parts]
    channels = label[1]
    units = channels[0].units if len(channels) == 1 else None
    gain, shift, mean, var = axes
    if given.get("training") or not (units and gain and shift and mean and var):
        for part in (label, *parts):
            fix(part or ())
        return [plain(shape)]
    gain.units.merge(shift.units)
    gain.eps = given["eps"]
    shift.use(1)
    for axis in (mean, var):
        axis.units.merge_order(units)
    _diagonal(gain, units, EVERYTHING - {w.FLIP})
    return [(label[0], (Factor(gain.units.size, gain.units),), *label[2:])]


def _only_axis(label: Label | None) -> ParameterAxis | None:
    return label[0][0].axis if label and len(label) == 1 and len(label[0]) == 1 else None


@operation("native_layer_norm", "native_group_norm", "_fused_rms_norm")
def _normed(given: Arguments, shape: Sequence[int]) -> list[Label]:
    """A norm over units, or over the places of each, and then a gain and a shift for each unit."""
    label = as_value(given["input"])
    at = 1 if given["name"] == "native_group_norm" else len(shape) - 1
    gain, shift = given.get("weight"), given.get("bias")
    fits = given.get("group", 1) in (1, shape[at]) and len(given.get("normalized_shape", [0])) == 1
    restrict(label, NOTHING)
    if not fits:
        for part in (label, gain, shift):
            fix(part or ())
        return [plain(shape)]
    dims = list(label)
    axes = [axis for part in (gain, shift) if part and (axis := _only_axis(part))]
    units = dims[at][0].units if len(dims[at]) == 1 else None
    if units is None or len(axes) < sum(part is not None for part in (gain, shift)):
        fix((dims[at], *(gain or ()), *(shift or ())))
        dims[at] = plain([shape[at]])[0]
    elif gain is None:
        fix((dims[at], *(shift or ())))
        dims[at] = plain([shape[at]])[0] if shift else dims[at]
    else:
        _diagonal(axes[0], units)
        for axis in axes[1:]:
            axis.use(1)
            axes[0].units.merge(axis.units)
        dims[at] = (Factor(units.size, axes[0].units),)
    return [tuple(dims)]


CREATED = {"zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full",
           "scalar_tensor"}  # fmt: skip
"""Operations whose result has one value everywhere, whatever is in the tensor that gives the shape."""
