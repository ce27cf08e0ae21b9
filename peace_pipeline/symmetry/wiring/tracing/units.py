"""Neurons of a traced network: which axes are permuted together (orders), and which are scaled together (units)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from peace_pipeline.symmetry.wiring.symmetries import FLIP, LINEAR, SCALE, SHIFT, SIGN

LINEAR_MAPS = frozenset({SCALE, SIGN, LINEAR})
EVERYTHING = LINEAR_MAPS | {FLIP, SHIFT}
"""What commutes with doing nothing."""
NOTHING: frozenset[str] = frozenset()


@dataclass(eq=False)
class Order:
    """A set of places that a permutation rearranges, everywhere it appears; a union-find node. Where it was cut, its
    ``parts`` are rearranged each by itself."""

    size: int
    fixed: bool = False
    parts: list[Order] = field(default_factory=list)
    above: Order | None = None

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


@dataclass(eq=False)
class Units:
    """Neurons over an order that share each one factor (or a map of them all); a union-find node.

    ``keeps`` are the actions that commute with all that was seen to be done with them. They are no claim yet.
    """

    order: Order
    keeps: frozenset[str] = EVERYTHING
    parts: list[Units] = field(default_factory=list)
    above: Units | None = None

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
        return all(leaf.order.root.fixed for leaf in self.leaves)

    @property
    def does_nothing(self) -> bool:
        """Whether they may be permuted at most."""
        return not any(leaf.keeps for leaf in self.leaves)

    def restrict(self, keeps: frozenset[str]) -> None:
        """Something was done with them that commutes with these actions alone."""
        for leaf in self.leaves:
            leaf.keeps &= keeps

    def fix(self) -> None:
        """Every place has a meaning."""
        for leaf in self.leaves:
            leaf.order.root.fixed = True

    def cut(self, ends: Iterable[int]) -> None:
        """Permute what lies between these ends each by itself."""
        wanted = set(ends)
        stop = 0
        for leaf in self.leaves:
            start, stop = stop, stop + leaf.size
            inner = sorted(end - start for end in wanted if start < end < stop)
            order = leaf.order.root
            if inner and not order.parts:
                order.parts = [Order(b - a, order.fixed) for a, b in pairwise([0, *inner, order.size])]

    def merge(self, other: Units) -> None:
        """What is done to one is done to the other."""
        _align(self, other)
        for mine, its in zip(self.leaves, other.leaves, strict=True):
            mine, its = mine.root, its.root
            if mine is not its:
                merge_orders(mine.order, its.order)
                mine.keeps &= its.keeps
                its.above = mine

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
    if one is not other:
        one.fixed |= other.fixed
        other.above = one


def _ends(units: Units) -> list[int]:
    return list(accumulate(leaf.size for leaf in units.leaves))


def _align(one: Units, other: Units) -> None:
    """Cut both so that their parts have the same sizes."""
    while _ends(one) != _ends(other):
        ends = {*_ends(one), *_ends(other)}
        one.cut(ends)
        other.cut(ends)


def distinct(units: Iterable[Units]) -> Iterator[Units]:
    """Leaves of ``units``, each once."""
    yield from dict.fromkeys(leaf for several in units for leaf in several.leaves)
