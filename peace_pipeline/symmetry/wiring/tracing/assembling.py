"""From what a traced module did with its parameters to its wiring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.linking import Link
from peace_pipeline.symmetry.wiring.symmetries import FLIP, GAIN, LINEAR, PERMUTE, SCALE, SHIFT, SHUFFLE, SIGN
from peace_pipeline.symmetry.wiring.tracing.experts import Experts, of_experts
from peace_pipeline.symmetry.wiring.tracing.heads import Heads
from peace_pipeline.symmetry.wiring.tracing.labels import ParameterAxis
from peace_pipeline.symmetry.wiring.tracing.units import NOTHING, Order, Units, distinct, fixed, joined
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Wiring
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.views import Rows, Stored, Taken, Transposed, View, Views

Axes = Mapping[str, list[ParameterAxis]]


@dataclass(eq=False)
class Use:
    """A layer and what it was seen to do: which dimension of its main tensor writes which units, which reads."""

    layer: Layer
    dim: int
    out: Units
    into: tuple[int, Units] | None = None
    norm: Layer | None = None
    before: Use | None = None
    is_absorbed: bool = False

    @property
    def is_diagonal(self) -> bool:
        """Whether each unit reads its own."""
        return self.into is not None and self.into[0] == self.dim


def logical_axes(views: Views, axes: Axes) -> dict[str, list[ParameterAxis]]:
    """The axes of each logical tensor. What of a stored tensor is only a part of a logical one's axis is fixed."""
    experts, found = Experts(), dict[str, list[ParameterAxis]]()
    for name, view in views.items():
        if several := of_experts(view):
            found[name] = experts.axes(*several, axes[view.sources[0]])
        else:
            found[name] = _axes_of(view, axes)
    return found


def _axes_of(view: View, axes: Axes) -> list[ParameterAxis]:
    if isinstance(view, Stored):
        return axes[view.info.name]
    if isinstance(view, Transposed):
        first, second, *others = _axes_of(view.of, axes)
        return [second, first, *others]
    if isinstance(view, Taken):
        rows, *others = _axes_of(view.of, axes)
        return [_part(rows, view.rows), *others]
    for source in view.sources:
        for axis in axes[source]:
            axis.fix()
    return [_bare(size) for size in view.info.shape]


def cut_as_taken(views: Views, axes: Axes) -> None:
    """Cut the axes that are several layers' in one, before they are followed."""
    for view in views.values():
        if isinstance(view, Taken) and len(view.sources) == 1 and not of_experts(view):
            _part(_axes_of(view.of, axes)[0], view.rows)


def _part(axis: ParameterAxis, rows: Rows) -> ParameterAxis:
    """The axis of some rows: neighbours, or the same of each head."""
    units, heads = axis.units, None
    is_of_heads = rows.count > 1
    if is_of_heads and rows.count * rows.period == units.size:
        heads, units = units.grid(rows.count) or (None, units)
    if axis.into or axis.inner or (is_of_heads and heads is None):
        axis.fix()
        return _bare(rows.size)
    units.cut([rows.start, rows.start + rows.width])
    found = _between(units, rows.start, rows.start + rows.width)
    if heads:
        found = Units(Order(rows.size, grid=(heads, found)))
    return ParameterAxis(found, set(axis.charges))


def _between(units: Units, start: int, stop: int) -> Units:
    """The units from one place to another, at which they are cut."""
    ends = list(accumulate((leaf.size for leaf in units.leaves), initial=0))
    leaves = units.leaves[ends.index(start) : ends.index(stop)]
    return leaves[0] if len(leaves) == 1 else joined(leaves)


def _bare(size: int) -> ParameterAxis:
    return ParameterAxis(fixed(size))


def assemble(layers: Iterable[Layer], axes: Axes, order: Mapping[str, int]) -> Wiring:
    """The wiring of these layers, whose logical tensors have ``axes`` and were used in an ``order``.

    Raises:
        WiringMismatch: where it doesn't fit the layers.
    """
    last = len(order)

    def first_use(layer: Layer) -> int:
        return min(order.get(name, last) for name in layer.tensors.values())

    uses = [_use(layer, axes) for layer in sorted(layers, key=first_use)]
    touching = _touching(uses)
    norms = [use for use in uses if use.layer.is_norm and use.is_diagonal]
    folded = {norm for norm in norms if "mean" in norm.layer.tensors and _fold(norm, touching)}
    for norm in norms:
        if "mean" not in norm.layer.tensors:
            _absorb(norm, touching)
    return _TracedWiring([use for use in uses if use not in folded]).wiring("traced")


def _use(layer: Layer, axes: Axes) -> Use:
    tensors = layer.tensors
    main = tensors.get("weight") or tensors.get("gain") or next(iter(tensors.values()))
    own = axes[main]
    out = _best(own, range(len(own)), 1)
    written = own[out]
    rest = [dim for dim in range(len(own)) if dim != out]
    into = (out, written.into) if written.into else None
    if into is None and rest:
        dim = _best(own, rest, -1)
        into = (dim, own[dim].read)
        if own[dim].charges != {-1}:
            own[dim].read.restrict(NOTHING)
        if not own[dim].charges:
            own[dim].fix()
        rest.remove(dim)
    for dim in rest:
        own[dim].fix()
    for role, name in tensors.items():
        if name != main:
            _pair(written, axes[name][0], role)
    if 1 not in written.charges:
        written.fix()
    if layer.eps is None and written.eps is not None:
        layer = replace(layer, eps=written.eps)
    return Use(layer, out, written.units, into)


def _pair(written: ParameterAxis, other: ParameterAxis, role: str) -> None:
    """A bias or statistic of a layer moves with what the layer writes."""
    if role in ("mean", "var"):
        written.units.merge_order(other.units)
        return
    written.units.merge(other.units)
    if other.charges != {1} or other.into:
        other.fix()


def _best(axes: list[ParameterAxis], dims: Iterable[int], charge: int) -> int:
    """The dimension that was used with this charge and may be permuted, else that was used so, else the first."""
    first, *_ = dims
    used = [dim for dim in dims if charge in axes[dim].charges]
    free = [dim for dim in used if not axes[dim].read.is_fixed]
    return next(iter([*free, *used]), first)


def _touching(uses: Iterable[Use]) -> dict[Units, list[Use]]:
    """Which layers write or read each of the units that are not cut."""
    touching: dict[Units, list[Use]] = {}
    for use in uses:
        for leaf in distinct([use.out, *([use.into[1]] if use.into else [])]):
            touching.setdefault(leaf, []).append(use)
    return touching


def _fold(norm: Use, touching: Mapping[Units, list[Use]]) -> bool:
    """Give a BatchNorm to the layer that it alone follows, if there is one, and nothing between them."""
    assert norm.into
    leaves = norm.into[1].leaves
    beside = {use for leaf in leaves for use in touching[leaf] if use is not norm}
    if len(beside) != 1 or any(not {LINEAR, SHIFT} <= leaf.keeps for leaf in leaves):
        return False
    (writer,) = beside
    if writer.layer.is_norm or writer.norm or writer.out.leaves != leaves or not writer.into:
        return False
    writer.norm, writer.out = norm.layer, norm.out
    return True


def _absorb(norm: Use, touching: Mapping[Units, list[Use]]) -> None:
    """Mark a gain that only linear layers read as one that may move there; one with a shift only moves along else."""
    assert norm.into
    leaves = norm.out.leaves
    readers = [use for use in touching[leaves[0]] if use is not norm]
    are_linear = all(
        use.into and not use.is_diagonal and use.into[1].leaves == leaves and leaves[0] not in use.out.leaves
        for use in readers
    )
    is_linear = len(leaves) == 1 and LINEAR in leaves[0].keeps and not leaves[0].order.stays
    if readers and are_linear and is_linear and norm.into[1].does_nothing:
        norm.is_absorbed = True
        for use in readers:
            use.before = norm
    elif "shift" in norm.layer.tensors:
        norm.out.restrict(NOTHING)
        norm.into[1].restrict(NOTHING)
        norm.into = None


class _TracedWiring(WiringBuilder):
    """Wires what was seen.

    Of the units over one order those that can only be permuted carry the permutation, and the others go along; or, if
    that says it all, one that can be scaled carries it, and those that can't be only move along with it (charge 0).
    """

    def __init__(self, uses: Sequence[Use]) -> None:
        super().__init__((use.layer for use in uses), {})
        norms = [use.norm for use in uses if use.norm]
        self.layers |= {norm.name: norm for norm in norms}
        self._names: dict[Units, str] = {}
        self._joined: dict[tuple[str, ...], str] = {}
        self._orders: dict[Order, str] = {}
        self._over_order: dict[Order, list[Units]] = {}
        touching = _touching(uses)
        runs = [units for use in uses for units in (use.out, use.into and use.into[1]) if units]
        self._heads = Heads(
            touching, (leaf for units in runs for leaf in units.leaves if len(units.leaves) > 1)
        )
        for leaf in touching:
            self._over_order.setdefault(leaf.order.root, []).append(leaf)
        self._apart = {
            leaf
            for use in uses
            for units, is_own in (
                (use.out, use.is_diagonal or use.is_absorbed),
                (use.into and use.into[1], False),
            )
            if units and (is_own or len(units.leaves) > 1)
            for leaf in units.leaves
        }
        for use in uses:
            self._add_use(use)

    def _add_use(self, use: Use) -> None:
        layer = use.layer.name
        if use.is_absorbed:
            (leaf,) = use.out.leaves
            shift = (SHIFT,) if SHIFT in leaf.keeps else ()
            self.group(layer, GAIN, *shift, along=self._order(leaf.order.root, f"{layer}.order"))
            return
        into = None
        if use.before:
            into = Axis(use.before.layer.name, charge=-1)
        elif use.into:
            into = self._axis(use.into[1], f"{layer}.in", -1)
        if into and use.into:
            into = replace(into, dim=use.into[0])
        out = replace(self._axis(use.out, f"{layer}.out", 1), dim=use.dim)
        norm = use.norm.name if use.norm else None
        before = use.before.layer.name if use.before else None
        self._links.append(Link(layer, out, into, norm, before))

    def _axis(self, units: Units, name: str, charge: int) -> Axis:
        """An axis over a group, or over the concatenation of several."""
        leaves = units.leaves
        if len(leaves) == 1:
            (leaf,) = leaves
            if over_heads := self._heads.axis(leaf, name, charge, self):
                return over_heads
            only_moves = leaf is not self._carrier(leaf.order.root) and not self._is_apart(leaf)
            return Axis(self._group(leaf, name), charge=0 if only_moves else charge)
        parts = tuple(self._part(leaf, f"{name}.{number}") for number, leaf in enumerate(leaves))
        if parts not in self._joined:
            self._joined[parts] = self.joined(name, parts)
        return Axis(self._joined[parts], charge=charge)

    def _part(self, leaf: Units, name: str) -> str:
        """The group of units that stand beside others on an axis."""
        over_heads = self._heads.axis(leaf, name, 0, self)
        return over_heads.group if over_heads else self._group(leaf, name)

    def _carrier(self, order: Order) -> Units | None:
        """The units whose group carries the order's permutation, if it is that of any."""
        several = self._over_order[order]
        if len(several) == 1 or order.stays:
            return several[0]
        acted = [leaf for leaf in several if _claimed(leaf)]
        moved = [leaf for leaf in several if leaf not in acted]
        if (
            len(acted) == 1
            and LINEAR not in acted[0].keeps
            and not any(leaf in self._apart for leaf in moved)
        ):
            return acted[0]
        return next((leaf for leaf in moved if leaf not in self._apart), None)

    def _is_apart(self, leaf: Units) -> bool:
        """Whether its group is another than that which carries its permutation."""
        order = leaf.order.root
        return order.stays or leaf in self._apart or bool(_claimed(leaf))

    def _group(self, leaf: Units, name: str) -> str:
        order = leaf.order.root
        carrier = self._carrier(order)
        if leaf in self._names:
            return self._names[leaf]
        if order.stays:
            group = self.group(name, size=leaf.size, kind=FIXED)
        elif order.runs > 1:
            along = self.group(f"{name}.experts", size=order.runs, kind=FIXED)
            claims = _claimed(carrier) if carrier else ()
            group = self._orders.get(order) or self.group(
                name, SHUFFLE, *claims, size=order.runs, width=leaf.size // order.runs, along=along
            )
            self._orders[order] = group
        elif leaf is carrier:
            group = self._orders.get(order) or self.group(name, PERMUTE, *_claimed(leaf), size=leaf.size)
            self._orders[order] = group
        elif self._is_apart(leaf):
            group = self.group(
                name, *_claimed(leaf), size=leaf.size, along=self._order(order, f"{name}.order")
            )
        else:
            group = self._order(order, name)
        self._names[leaf] = group
        return group

    def _order(self, order: Order, name: str) -> str:
        """The group that carries an order's permutation."""
        if order not in self._orders:
            carrier = self._carrier(order)
            if carrier:
                return self._group(carrier, name)
            self._orders[order] = self.group(name, PERMUTE, size=order.size)
        return self._orders[order]


def _claimed(units: Units) -> tuple[str, ...]:
    """The actions that all that was done with units commutes with."""
    if SCALE in units.keeps or SIGN in units.keeps:
        return tuple(action for action in (SCALE, SIGN, LINEAR) if action in units.keeps)
    return (FLIP,) if FLIP in units.keeps else ()
