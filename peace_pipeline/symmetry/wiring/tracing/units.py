"""Neurons of a traced network: which axes are permuted together (orders), and which are scaled together (units)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from peace_pipeline.symmetry.wiring.symmetries import FLIP, LINEAR, SCALE, SHIFT, SIGN

LINEAR_MAPS = frozenset({SCALE, SIGN, LINEAR})
EVERYTHING = LINEAR_MAPS | {FLIP, SHIFT}
"""What commutes with doing nothing."""
NOTHING: frozenset[str] = frozenset()


FOLLOWED: ContextVar[str] = ContextVar("the operation that is followed", default="")


@dataclass(eq=False)
class Order:
    """A set of places that a permutation rearranges, everywhere it appears; a union-find node. Where it was cut, its
    ``parts`` are rearranged each by itself. Where it was shaped into a ``grid`` (heads and their entries) the places
    stay, but for what is done to the grid. Where it is several ``runs`` of one length (experts), places stay within
    their own. ``fixed_by`` is the operation that showed that places have a meaning."""

    size: int
    fixed: bool = False
    fixed_by: str = ""
    parts: list[Order] = field(default_factory=list)
    above: Order | None = None
    grid: tuple[Units, Units] | None = None
    runs: int = 1

    @property
    def root(self) -> Order:
        """The node that stands for all it was merged with."""
        node = self
        while node.above:
            node = node.above
        return node

    @property
    def leaves(self) -> list[Order]:
        """The roots of its parts that are not cut."""
        root = self.root
        return [leaf for part in root.parts for leaf in part.leaves] if root.parts else [root]

    @property
    def stays(self) -> bool:
        """Whether its places may not be rearranged one by one."""
        return self.root.fixed or self.root.grid is not None

    def fix(self) -> None:
        """Every place has a meaning."""
        self.root.fixed = True
        self.root.fixed_by = self.root.fixed_by or FOLLOWED.get()
        for units in self.root.grid or ():
            units.fix()


@dataclass(eq=False)
class Units:
    """Neurons over an order that share each one factor (or a map of them all); a union-find node.

    ``keeps`` are the actions that commute with all that was seen to be done with them. They are no claim yet. Entries
    of heads have their heads ``beside`` them; those of queries and of keys are each other's ``dual``: they are summed
    over together, so what maps the ones may be undone by the others. Those of queries, the first of the two, ``ask``.
    """

    order: Order
    keeps: frozenset[str] = EVERYTHING
    parts: list[Units] = field(default_factory=list)
    above: Units | None = None
    beside: Units | None = None
    dual: Units | None = None
    asks: bool = False

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.order.size

    @property
    def root(self) -> Units:
        """The node that stands for all it was merged with."""
        node = self
        while node.above:
            node = node.above
        return node

    @property
    def leaves(self) -> list[Units]:
        """The roots of its parts that are not cut."""
        root = self.root
        orders = root.order.leaves
        if not root.parts and len(orders) > 1:
            root.parts = [Units(order, root.keeps) for order in orders]
        return [leaf for part in root.parts for leaf in part.leaves] if root.parts else [root]

    @property
    def is_fixed(self) -> bool:
        """Whether none of its places may change."""
        return all(leaf.order.stays for leaf in self.leaves)

    @property
    def does_nothing(self) -> bool:
        """Whether they may be permuted at most."""
        return not any(leaf.keeps for leaf in self.leaves)

    def restrict(self, keeps: frozenset[str]) -> None:
        """Something was done with them that commutes with these actions alone."""
        for leaf in self.leaves:
            leaf.keeps &= keeps
            if grid := leaf.order.root.grid:
                grid[1].restrict(keeps)

    def fix(self) -> None:
        """Every place has a meaning."""
        for leaf in self.leaves:
            leaf.order.fix()

    def grid(self, slow: int) -> tuple[Units, Units] | None:
        """Its places as a grid of ``slow`` units and the entries of each; ``None`` where they can't be seen so."""
        (leaf, *others), size = self.leaves, self.size
        order = leaf.order.root
        if others or order.fixed or size % slow:
            return None
        if order.grid is None:
            heads = Units(Order(slow))
            order.grid = heads, Units(Order(size // slow), leaf.keeps, beside=leaf.beside or heads)
        return order.grid if order.grid[0].size == slow else None

    def cut(self, ends: Iterable[int]) -> None:
        """Permute what lies between these ends each by itself."""
        wanted = set(ends)
        stop = 0
        for leaf in self.leaves:
            start, stop = stop, stop + leaf.size
            inner = sorted(end - start for end in wanted if start < end < stop)
            order = leaf.order.root
            if inner and order.grid:
                order.fix()
                order.grid = None
            if inner and not order.parts:
                order.parts = [Order(b - a, order.fixed) for a, b in pairwise([0, *inner, order.size])]

    def merge(self, other: Units) -> None:
        """What is done to one is done to the other."""
        _align(self, other)
        for mine, its in zip(self.leaves, other.leaves, strict=True):
            mine, its = mine.root, its.root
            if mine is not its:
                merge_orders(mine.order, its.order)
                mine.restrict(its.keeps)
                if mine.dual and its.dual and mine.dual.root is not its.dual.root:
                    mine.restrict(NOTHING)
                mine.beside, mine.dual = mine.beside or its.beside, mine.dual or its.dual
                mine.asks = mine.asks or its.asks
                its.above = mine

    def pair(self, other: Units) -> None:
        """They are summed over together, and nothing else is done with either."""
        (mine, *more), (its, *others) = self.leaves, other.leaves
        duals = {unit.dual.root for unit in (mine, its) if unit.dual}
        if not (more or others or mine is its) and duals <= {mine, its} and LINEAR in mine.keeps & its.keeps:
            mine.dual, its.dual, mine.asks = its, mine, True
            for units in (mine, its):
                units.restrict(frozenset({LINEAR}))
            self.merge_order(other)
        else:
            for units in (self, other):
                units.restrict(NOTHING)
            self.merge(other)

    def merge_order(self, other: Units) -> None:
        """They are permuted together."""
        _align(self, other)
        for mine, its in zip(self.leaves, other.leaves, strict=True):
            merge_orders(mine.order, its.order)


def joined(parts: Iterable[Units]) -> Units:
    """A concatenation."""
    leaves = [leaf for part in parts for leaf in part.leaves]
    orders = [leaf.order for leaf in leaves]
    return Units(Order(sum(order.size for order in orders), parts=orders), parts=leaves)


def fresh(size: int) -> Units:
    """Units that nothing is known of."""
    return Units(Order(size))


def fixed(size: int) -> Units:
    """Units each of which has its place."""
    return Units(Order(size, fixed=True))


def merge_orders(one: Order, other: Order) -> None:
    """Two uncut orders of one size become one."""
    one, other = one.root, other.root
    if one is other:
        return
    grids = [order.grid for order in (one, other) if order.grid]
    is_fixed = one.fixed or other.fixed or len({slow.size for slow, _ in grids}) > 1
    other.above = one
    one.fixed_by = one.fixed_by or other.fixed_by
    one.grid = next(iter(grids), None)
    if is_fixed:
        one.fix()
        for units in (units for grid in grids for units in grid):
            units.fix()
    elif len(grids) == 2:
        for mine, its in zip(*grids, strict=True):
            mine.merge(its)


def _ends(units: Units) -> list[int]:
    return list(accumulate(leaf.size for leaf in units.leaves))


def _align(one: Units, other: Units) -> None:
    """Cut both so that their parts have the same sizes."""
    while _ends(one) != _ends(other):
        ends = {*_ends(one), *_ends(other)}
        one.cut(ends)
        other.cut(ends)


def slowest(heads: Units) -> set[Order]:
    """Their order, that of the bundles that they were shaped into, and so on."""
    (order, *_) = (leaf.order.root for leaf in heads.leaves)
    return {order} | (slowest(order.grid[0]) if order.grid else set())


def distinct(units: Iterable[Units]) -> Iterator[Units]:
    """Leaves of ``units``, each once."""
    yield from dict.fromkeys(leaf for several in units for leaf in several.leaves)
