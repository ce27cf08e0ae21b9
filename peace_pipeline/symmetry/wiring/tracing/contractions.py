"""Operations that sum over inputs: matrix products, convolutions; and norms."""

from __future__ import annotations

from collections.abc import Sequence

from peace_pipeline.symmetry.wiring.symmetries import FLIP
from peace_pipeline.symmetry.wiring.tracing.labels import (
    Dim,
    Factor,
    Label,
    ParameterAxis,
    as_value,
    factors_of,
    fix,
    pairs,
    plain,
    regrouped,
    restrict,
    together,
)
from peace_pipeline.symmetry.wiring.tracing.operations import added, diagonal
from peace_pipeline.symmetry.wiring.tracing.registry import Arguments, operation
from peace_pipeline.symmetry.wiring.tracing.units import EVERYTHING, LINEAR_MAPS, NOTHING


@operation("mm", "bmm")
def _matrix_product(given: Arguments, shape: Sequence[int]) -> Label:
    return _times(given["self"], given["mat2"])


@operation("addmm", "baddbmm")
def _with_bias(given: Arguments, shape: Sequence[int]) -> Label:
    first, second = ("mat1", "mat2") if given["name"] == "addmm" else ("batch1", "batch2")
    product = _times(given[first], given[second])
    return added({"self": product, "other": given["self"], "name": "add"}, shape)


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
    if any(
        reads(*sides, keeps)
        for reads in (_reads_blocks, _reads_grid)
        for sides in ((one, other), (other, one))
    ):
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
            a.units.restrict(keeps if a.flipped else keeps - {FLIP})
            a.units.merge(b.units)
        elif a.axis:
            a.units.restrict(NOTHING)
            b.units.restrict(NOTHING)
            a.units.merge(b.units)
        else:
            a.units.pair(b.units)


def _reads_grid(parameter: Dim, value: Dim, keeps: frozenset[str]) -> bool:
    """Whether an axis reads heads and their entries, or other units side by side."""
    axis = parameter[0].axis if len(parameter) == 1 else None
    if (
        axis is None
        or len(value) < 2
        or not any(factor.units for factor in value)
        or any(f.axis for f in value)
    ):
        return False
    own: Label = ((Factor(axis.units.size, axis.units),),)
    axis.use(-1)
    for dim, theirs in zip(regrouped(own, [factor.size for factor in value]), value, strict=True):
        restrict(((theirs,),), keeps if theirs.flipped else keeps - {FLIP})
        if len(dim) == 1 and dim[0].units and theirs.units:
            theirs.units.merge(dim[0].units)
        elif len(dim) == 1:
            _contract_places(dim[0], theirs)
        else:
            fix((dim, (theirs,)))
    return True


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
    first.units.restrict(keeps if first.flipped else keeps - {FLIP})
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
            diagonal(axis, units)
            written = (Factor(units.size, axis.units),)
        else:
            fix((weight[0], channels))
    else:
        fix((channels, *weight))
        written = plain([shape[1]])[0]
    if isinstance(given["bias"], tuple):
        bias = {"self": (written,), "other": given["bias"], "name": "add"}
        written = added(bias, [shape[1]])[0]
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
    diagonal(gain, units, EVERYTHING - {FLIP})
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
        diagonal(axes[0], units)
        for axis in axes[1:]:
            axis.use(1)
            axes[0].units.merge(axis.units)
        dims[at] = (Factor(units.size, axes[0].units),)
    return [tuple(dims)]
