"""Experts that a module keeps in one tensor (experts, …), among what was traced: layers of the units of all of them."""

from __future__ import annotations

from itertools import accumulate

from peace_pipeline.symmetry.wiring.symmetries import SCALE, SIGN
from peace_pipeline.symmetry.wiring.tracing.labels import ParameterAxis
from peace_pipeline.symmetry.wiring.tracing.units import NOTHING, Order, Units, fixed
from peace_pipeline.weights.logical.experts import Rearranged
from peace_pipeline.weights.views import Rows, Stored, Taken, View


def of_experts(view: View) -> tuple[Rearranged, Rows | None] | None:
    """The tensor of all experts that a view shows, or the rows of it; ``None`` where it shows no such tensor."""
    rows = view.rows if isinstance(view, Taken) else None
    whole = view.of if isinstance(view, Taken) else view
    is_whole = isinstance(whole, Rearranged) and isinstance(whole.of, Stored)
    return (whole, rows) if isinstance(whole, Rearranged) and is_whole else None


class Experts:
    """Axes over the units of all experts, one expert's after the other's. What was seen to be done with those of each
    is done with them; but each expert's may be rearranged by themselves, and only one layer's may be scaled."""

    def __init__(self) -> None:
        self._orders: dict[tuple[Order, int], Order] = {}
        self._units: dict[tuple[Units, int], Units] = {}
        self._scaled: dict[Order, Units] = {}

    def axes(self, whole: Rearranged, rows: Rows | None, stored: list[ParameterAxis]) -> list[ParameterAxis]:
        """The axes of a tensor of all experts, or of some rows, from those of the ``stored`` one, whose first dimension
        are the experts."""
        own = [stored[dim] for dim in whole.order]
        at = whole.order.index(0)
        own[at].fix()
        return [*own[:at], self._over_all(own[at].units.size, own[at + 1], rows), *own[at + 2 :]]

    def _over_all(self, experts: int, each: ParameterAxis, rows: Rows | None) -> ParameterAxis:
        units, size = each.units, each.units.size
        if rows and rows.count == experts:
            units.cut([rows.start, rows.start + rows.width])
            starts = list(accumulate((leaf.size for leaf in units.leaves), initial=0))
            units, size = units.leaves[starts.index(rows.start)], rows.width
        (leaf, *others) = units.leaves
        if others or leaf.size != size or leaf.order.stays or each.into or each.inner:
            each.fix()
            return ParameterAxis(fixed(rows.size if rows else experts * size))
        return ParameterAxis(self._many(leaf, experts), set(each.charges))

    def _many(self, leaf: Units, experts: int) -> Units:
        order = leaf.order.root
        all_orders = self._orders.setdefault((order, experts), Order(order.size * experts, runs=experts))
        own = self._units.setdefault((leaf, experts), Units(all_orders, leaf.keeps & {SCALE, SIGN}))
        if own.keeps and self._scaled.setdefault(all_orders, own) is not own:
            own.restrict(NOTHING)
        return own
