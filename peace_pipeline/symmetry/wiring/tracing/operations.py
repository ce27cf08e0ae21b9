"""Operations that compute with values: activations, sums, products, contractions, convolutions, norms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from peace_pipeline.symmetry.wiring.symmetries import FLIP, SCALE, SIGN
from peace_pipeline.symmetry.wiring.tracing.labels import (
    Dim,
    Factor,
    Label,
    ParameterAxis,
    as_value,
    factors_of,
    fix,
    is_parameter,
    plain,
    positions,
    restrict,
    together,
)
from peace_pipeline.symmetry.wiring.tracing.registry import Arguments, operation
from peace_pipeline.symmetry.wiring.tracing.units import EVERYTHING, LINEAR_MAPS, NOTHING, Units

POSITIVE = frozenset({SCALE})
ONE_BY_ONE = frozenset({SCALE, SIGN})
ODD = frozenset({SIGN})


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
    restrict(label, frozenset({FLIP}) if once else NOTHING)
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
def added(given: Arguments, shape: Sequence[int]) -> Label:
    """A sum: places that are added are acted on alike; a parameter beside a value moves it."""
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
    diagonal(axis, units)
    return (Factor(units.size, axis.units),)


def diagonal(axis: ParameterAxis, units: Units, keeps: frozenset[str] = ONE_BY_ONE) -> None:
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
    return together(one, other, _factor_product, LINEAR_MAPS)


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
    return a if a.units else b


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
        at = positions(given.get("dim"), label)
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
