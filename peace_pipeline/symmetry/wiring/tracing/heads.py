"""Attention heads among the units of a traced network: grids of heads and their entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.symmetries import (
    FREE,
    LINEAR,
    MIX,
    PERMUTE,
    ROTATE,
    SHIFT,
)
from peace_pipeline.symmetry.wiring.tracing.units import Order, Units
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Wiring

_PROPOSED = (ROTATE, FREE, SHIFT)
"""Actions on entries of heads that no operation alone shows: they are claimed where a module that was run keeps them.
"""


class Heads:
    """Which units are heads with entries, and the axes over them.

    A grid is (heads, entries), or (bundles of heads, heads of each, entries) where several heads share keys and values.
    One that is more than that stays as it is.
    """

    def __init__(self, every: Iterable[Units], side_by_side: Iterable[Units]) -> None:
        """``every``: the leaves of all units; ``side_by_side``: those that are read or written by one axis with
        others."""
        self._beside = {*side_by_side}
        self._names: dict[Order, str] = {}
        self._entered: dict[Units | None, tuple[str, int]] = {}
        over: dict[Order, list[Units]] = {}
        for leaf in every:
            over.setdefault(leaf.order.root, []).append(leaf)
        self._touched = over.keys()
        self._whole = {order for order, several in over.items() if len(several) == 1} - {
            leaf.order.root for leaf in self._beside
        }
        self._grids = {order: _flat(order) for order in over if order.grid}
        self._bundles: dict[Order, int] = {}
        self._inner: dict[Units, list[Order]] = {}
        self._sort(over)

    def _sort(self, over: Mapping[Order, list[Units]]) -> None:
        heads = {slow for order in self._grids if (slow := _heads_of(order)) in self._grids}
        self._heads = {order: self._grids.pop(order) for order in heads}
        for order, parts in list(self._grids.items()):
            for entry in parts[-1].leaves:
                if len(parts[-1].leaves) > 1 or entry.order.root.grid:
                    entry.fix()
            if not 2 <= len(parts) <= 3 or any(len(part.leaves) > 1 for part in parts[:-1]):
                _give_up([order])
                del self._grids[order]
        for order in self._turned():
            _give_up([order])
            del self._grids[order]
        for order, parts in self._grids.items():
            self._inner.setdefault(parts[-1].root, []).append(order)
            if len(parts) == 3:
                self._bundle(parts)
        for order, parts in self._heads.items():
            if len(parts) != 2 or parts[0].order.root not in self._bundles:
                _give_up([order])
        plain = over.keys() - self._grids.keys() - self._heads.keys()
        within = {parts[-1].order.root for parts in self._grids.values()}
        amid = {parts[1].order.root: parts for parts in self._grids.values() if len(parts) == 3}
        for order in plain & within:
            order.fix()
        for order in plain & amid.keys():
            _give_up([order, amid[order][0].order.root])
        for leaf in self._beside:
            parts = self._grids.get(leaf.order.root, [])
            if parts and parts[0].order.root in self._bundles:
                _give_up([parts[0].order.root])

    def _turned(self) -> list[Order]:
        """The grids in which something moves faster or slower than in another (shuffled channels)."""
        roles: dict[Order, set[int]] = {}
        for parts in self._grids.values():
            for role, units in enumerate(parts if len(parts) == 3 else (parts[0], None, parts[1])):
                if units:
                    roles.setdefault(units.order.root, set()).add(role)
        return [
            order
            for order, parts in self._grids.items()
            if any(len(roles[units.order.root]) > 1 for units in parts)
        ]

    def _bundle(self, parts: Sequence[Units]) -> None:
        order, size = parts[0].order.root, parts[1].size
        if self._bundles.setdefault(order, size) != size or parts[1].order.root.fixed:
            _give_up([order])

    def axis(self, leaf: Units, name: str, charge: int, net: WiringBuilder) -> Axis | None:
        """The axis over units that are heads or have them; ``name`` is what its groups may be called."""
        order = leaf.order.root
        if order in self._grids:
            return self._entries(leaf, self._grids[order], name, charge, net)
        if order in self._heads:
            return Axis(self._group(self._heads[order][0].order.root, name, net), charge=0)
        if any(parts[0].order.root is order for parts in self._grids.values()):
            return Axis(self._group(order, name, net), charge=0, bundled=order in self._bundles)
        return None

    def _group(self, order: Order, name: str, net: WiringBuilder) -> str:
        """The group of heads."""
        bundle = self._bundles.get(order, 1)
        if order not in self._names:
            own = () if order.fixed else (PERMUTE,)
            kind = {"kind": FIXED} if order.fixed else {}
            self._names[order] = net.group(
                f"{name}.heads", *own, size=order.size * bundle, bundle=bundle, **kind
            )
        return self._names[order]

    def _entries(
        self, leaf: Units, parts: Sequence[Units], name: str, charge: int, net: WiringBuilder
    ) -> Axis:
        """An axis over the entries of heads: those of queries are mapped by the inverse of what maps the keys."""
        order, inner = parts[0].order.root, parts[-1].root
        heads, bundle = self._group(order, name, net), self._bundles.get(order, 1)
        mixed = self._may_mix(inner)
        turned = None if mixed else self._turned_with(inner)
        dual = inner.dual.root if mixed and inner.dual else turned
        shape = {"size": order.size * bundle, "bundle": bundle, "width": inner.size, "along": heads}
        if not (mixed or turned):
            group = net.group(f"{name}.entries", **shape)
            return Axis(group, charge=0, bundled=bundle > 1 and len(parts) == 2)
        if inner in self._entered:
            group, side = self._entered[inner]
        elif dual in self._entered:
            group, side = self._entered[dual][0], -self._entered[dual][1]
        else:
            actions = (ROTATE,) if turned else (MIX, FREE if dual else SHIFT)
            rotary = 2 * inner.leaves[0].size if turned else 0
            group = net.group(f"{name}.entries", *actions, rotary=rotary, **shape)
            side = -1 if turned or (dual and inner.asks) else 1
        self._entered[inner] = group, side
        return Axis(group, charge=charge * side, bundled=bundle > 1 and len(parts) == 2)

    def _turned_with(self, inner: Units) -> Units | None:
        """The keys' entries for those of queries, and the other way round, where rotary positions turn both: the two
        halves of the entries, or of the first of them, are one."""
        first, second, *rest = inner.leaves if len(inner.leaves) > 1 else (inner, None)
        if first is not second or len(rest) > 1 or first in rest:
            return None
        both = [units for units in self._inner if units.leaves == inner.leaves]
        others = [units for units in both if units is not inner]
        touched = {leaf.order.root for leaf in inner.leaves} & self._touched
        return others[0] if len(others) == 1 and not touched and self._are_alone(both) else None

    def _are_alone(self, every: Iterable[Units]) -> bool:
        """Whether all of these entries belong to the same heads, and to one layer each."""
        grids = [order for units in every for order in self._inner.get(units, ())]
        return len({self._grids[order][0].order.root for order in grids}) == 1 and all(
            order in self._whole and not order.fixed for order in grids
        )

    def _may_mix(self, inner: Units) -> bool:
        """Whether the entries of each head may be mapped."""
        both = [inner, inner.dual.root] if inner.dual else [inner]
        are_linear = all(
            len(units.leaves) == 1 and LINEAR in units.keeps and not units.order.root.fixed for units in both
        )
        return are_linear and self._are_alone(both)


def as_seen(wiring: Wiring) -> Wiring:
    """The wiring of a module that can't be run: without the actions that only running it shows."""
    groups = {
        name: replace(group, actions=tuple(each for each in group.actions if each not in _PROPOSED))
        for name, group in wiring.groups.items()
        if group.width > 1
    }
    return replace(wiring, groups=wiring.groups | groups)


def _give_up(orders: Iterable[Order]) -> None:
    for order in orders:
        order.fix()


def _flat(order: Order) -> list[Units]:
    """The parts of a grid, and of what in it is a grid itself; but entries whose pairs stand beside one another are
    one part, where each pair has its place (rotary positions)."""
    found: list[Units] = []
    for units in order.grid or ():
        inner = units.leaves[0].order.root
        are_pairs = bool(found) and inner.grid is not None and inner.grid[0].order.root.fixed
        found += _flat(inner) if len(units.leaves) == 1 and inner.grid and not are_pairs else [units]
    return found


def _heads_of(order: Order) -> Order | None:
    """The order of the heads of a grid."""
    return order.grid[0].leaves[0].order.root if order.grid else None
