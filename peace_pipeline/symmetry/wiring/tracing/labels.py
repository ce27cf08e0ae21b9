"""What is known of a traced tensor: for each dimension the neurons, or places, that it runs over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from peace_pipeline.symmetry.wiring.symmetries import FLIP
from peace_pipeline.symmetry.wiring.tracing.units import NOTHING, Units, fixed, fresh, slowest


@dataclass(eq=False)
class ParameterAxis:
    """A dimension of a parameter. ``charges`` says how it was used (see
    :class:`~peace_pipeline.symmetry.wiring.types.Axis`);
    ``into`` are the units that it multiplies one by one, ``inner`` those that it reads in blocks."""

    units: Units
    charges: set[int] = field(default_factory=set)
    into: Units | None = None
    inner: Units | None = None
    eps: float | None = None
    """Of a norm whose gain it is."""

    @property
    def read(self) -> Units:
        """The units that it runs over."""
        return self.inner or self.units

    def use(self, charge: int) -> None:
        """Note a use. What is written and read by one axis can only be permuted; blocks are read once."""
        self.charges.add(charge)
        if len(self.charges) > 1:
            self.units.restrict(NOTHING)
        if self.inner:
            self.fix()

    def fix(self) -> None:
        """Every place has a meaning."""
        for units in filter(None, (self.units, self.inner, self.into)):
            units.fix()


@dataclass(frozen=True)
class Factor:
    """``size`` places. Over ``units`` if there are any; ``uniform``: all have the same value.

    ``flipped``: they went through a sigmoid. ``axis``: they are a parameter's own, which nothing was done to. Where
    parts of an axis (queries, keys and values) stand one behind the other along a dimension, its ``stack`` is that of
    the ``options``: the units that the others' places run over, by place along that dimension.
    """

    size: int
    units: Units | None = None
    flipped: bool = False
    uniform: bool = False
    axis: ParameterAxis | None = None
    stack: object = None
    options: tuple[Units, ...] = ()


Dim = tuple[Factor, ...]
"""A dimension: the product of its factors, the last moving fastest; () for one of size 1."""
Label = tuple[Dim, ...]


def plain(shape: Iterable[int], *, uniform: bool = False) -> Label:
    """A tensor whose places each have a meaning."""
    return tuple((Factor(size, uniform=uniform),) if size != 1 else () for size in shape)


def of_parameter(shape: Sequence[int]) -> tuple[Label, list[ParameterAxis]]:
    """A parameter of which nothing is known, and its axes."""
    axes = [ParameterAxis(fresh(size) if size > 1 else fixed(size)) for size in shape]
    return tuple(
        (Factor(axis.units.size, axis.units, axis=axis),) if axis.units.size > 1 else () for axis in axes
    ), axes


def shape_of(label: Label) -> tuple[int, ...]:
    """The tensor's shape."""
    return tuple(math.prod(factor.size for factor in dim) for dim in label)


def factors_of(label: Label) -> Iterator[Factor]:
    """The factors that run over units."""
    return (factor for dim in label for factor in dim if factor.units)


def fix(label: Label) -> None:
    """Something unknown was done with it."""
    for units in (units for dim in label for factor in dim for units in factor.options):
        units.fix()
    for factor in factors_of(label):
        if factor.axis:
            factor.axis.fix()
        elif factor.units:
            factor.units.fix()


def restrict(label: Label, keeps: frozenset[str]) -> None:
    """Something was done with it that commutes with these actions alone."""
    for factor in factors_of(label):
        if factor.units:
            factor.units.restrict(keeps)


def as_value(label: Label) -> Label:
    """A label of a parameter that is used as a value: what it writes has its units."""

    def valued(factor: Factor) -> Factor:
        if factor.axis is None:
            return factor
        factor.axis.use(1)
        return replace(factor, axis=None)

    return tuple(tuple(map(valued, dim)) for dim in label)


def is_parameter(label: Label) -> bool:
    """Whether it is a parameter that nothing was done to."""
    return any(factor.axis for factor in factors_of(label))


def regrouped(label: Label, shape: Sequence[int]) -> Label:
    """The same places in another shape. Units that are cut by it become a grid: heads and their entries."""
    left = [factor for dim in label for factor in dim]
    dims: list[Dim] = []
    for size in shape:
        dim: list[Factor] = []
        while size > 1:
            first = left.pop(0)
            taken = math.gcd(size, first.size)
            if taken == 1 and first.size > 1:
                fix(label)
                return plain(shape)
            if taken < first.size:
                left[:0] = _cut(first, taken)
                continue
            if first.size > 1:
                dim.append(first)
            size //= taken
        dims.append(tuple(dim))
    return tuple(dims)


def _cut(factor: Factor, size: int) -> list[Factor]:
    """A factor as several: those whose places move slower come first, of ``size`` (or a part of that) the first."""
    stacked = _stacked(factor, size)
    if stacked:
        return stacked
    if factor.axis:
        factor.axis.fix()
    elif factor.units and (grid := _grid(factor.units, size)):
        return [replace(factor, size=units.size, units=units) for units in grid]
    elif factor.units:
        factor.units.fix()
    bare = Factor(size, uniform=factor.uniform)
    return [bare, replace(bare, size=factor.size // size)]


def _stacked(factor: Factor, size: int) -> list[Factor] | None:
    """Parts of one size as a stack of them; a factor of a stack as a grid of each of its options."""
    if factor.options:
        grids = [_grid(units, size) for units in factor.options]
        if all(grid and grid[0].size == size for grid in grids):
            options = zip(*(grid for grid in grids if grid), strict=True)
            return [replace(factor, size=own[0].size, options=own) for own in options]
        fix(((factor,),))
        return None
    if factor.axis or not factor.units or not 1 < size == len(factor.units.leaves):
        return None
    leaves = tuple(factor.units.leaves)
    if len({leaf.size for leaf in leaves}) > 1 or factor.flipped:
        return None
    stack = object()
    return [Factor(size, stack=stack), Factor(leaves[0].size, stack=stack, options=leaves)]


def picked(label: Label, at: int, number: int) -> Label | None:
    """What stands at a place of a stack's dimension; ``None`` where a dimension is none."""
    dim = label[at]
    if len(dim) != 1 or dim[0].stack is None or dim[0].options:
        return None

    def own(factor: Factor) -> Factor:
        is_of = factor.stack is dim[0].stack
        return Factor(factor.size, factor.options[number]) if is_of and factor.options else factor

    return tuple(tuple(map(own, other)) for place, other in enumerate(label) if place != at)


def settled(label: Label) -> Label:
    """A label without stacks: what was in them has its places."""
    if not any(factor.stack for dim in label for factor in dim):
        return label
    fix(label)
    return plain(shape_of(label))


def _grid(units: Units, size: int) -> tuple[Units, Units] | None:
    """Units as a grid in which ``size`` of them, or a part or several of these, move slowest."""
    known = units.leaves[0].order.root.grid
    return units.grid(known[0].size if known and len(units.leaves) == 1 else size)


def _gridded(factor: Factor, size: int) -> list[Factor]:
    """The factors of a grid that has to be cut at a size, if it has to and can be."""
    can_be = factor.size > size > 1 and factor.units and not factor.axis and _grid(factor.units, size)
    return _cut(factor, size) if can_be else []


def pairs(one: Dim, other: Dim) -> list[tuple[Factor, Factor]] | None:
    """The factors of two dimensions of one size side by side; ``None`` where they don't match."""
    mine, its, found = list(one), list(other), []
    while mine and its:
        a, b = mine.pop(0), its.pop(0)
        size = math.gcd(a.size, b.size)
        grids = _gridded(a, size), _gridded(b, size)
        if any(grids):
            mine[:0], its[:0] = grids[0] or [a], grids[1] or [b]
            continue
        for factor, queue in ((a, mine), (b, its)):
            if factor.size > size and factor.units:
                return None
            if factor.size > size:
                queue.insert(0, replace(factor, size=factor.size // size))
        if size == 1 and (a.size > 1 or b.size > 1):
            return None
        found.append((a if a.units else replace(a, size=size), b if b.units else replace(b, size=size)))
    return None if mine or its else found


def same(a: Factor, b: Factor) -> Factor:
    """Two factors that must be acted on alike: what both give together."""
    if a.units and b.units:
        a.units.merge(b.units)
        if a.flipped != b.flipped:
            a.units.restrict(a.units.leaves[0].keeps - {FLIP})
        return replace(a, axis=None)
    units = a.units or b.units
    if units is None:
        return Factor(a.size, uniform=a.uniform and b.uniform)
    if (a if b.units else b).uniform:
        units.restrict(NOTHING)
        return replace(a if a.units else b, axis=None)
    units.fix()
    units.restrict(NOTHING)
    return replace(a if a.units else b, axis=None)


def together(
    one: Dim, other: Dim, meet: Callable[[Factor, Factor], Factor] = same, alone: frozenset[str] = NOTHING
) -> Dim:
    """Two dimensions whose places ``meet`` one by one: as they do where they are acted on alike. Where one has size 1
    the other keeps the actions ``alone``."""
    if not one or not other:
        restrict((one, other), alone)
        return one or other
    found = pairs(one, other)
    if found is None:
        fix((one, other))
        return plain([math.prod(factor.size for factor in one)])[0]
    return tuple(meet(a, b) for a, b in found)


def restrict_without_heads(label: Label) -> None:
    """Entries of heads that are seen without their heads can't be mapped for each head by itself."""
    heads = {leaf.order.root for factor in factors_of(label) if factor.units for leaf in factor.units.leaves}
    for factor in factors_of(label):
        for leaf in factor.units.leaves if factor.units else ():
            if leaf.beside and not heads & slowest(leaf.beside):
                leaf.restrict(NOTHING)


def position(dim: int, label: Label) -> int:
    """A dimension of a label, counted from the front."""
    return dim % len(label)


def positions(dims: int | Sequence[int] | None, label: Label) -> set[int]:
    """Dimensions of a label, counted from the front; all where none is given."""
    if dims is None or dims == []:
        return set(range(len(label)))
    return {position(dim, label) for dim in ([dims] if isinstance(dims, int) else dims)}
