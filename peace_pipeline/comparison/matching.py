"""Weight matching: the elements of the symmetry group that bring two networks of one wiring nearest to each other.

Groups are matched in the order of data flow: a group's units are assigned to each other by what they read and write
along axes that are matched already (weight matching of Ainsworth et al. 2023, §3.2, whose order is random). The
continuous symmetries are taken away pair by pair, so that a small change of a network is a small change of what is
found: scales by unit norms in, signs by agreement, what mixes the entries of a unit by balancing its two factors and
an orthogonal Procrustes fit of one network's to the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch

from peace_pipeline.comparison.alignment import (
    Aligned,
    Layers,
    RowPair,
    assigned,
    mixings,
    procrustes,
    rank,
    rotations,
    score,
    sides,
)
from peace_pipeline.symmetry.form.matrices import DEAD, to_unit
from peace_pipeline.symmetry.group.actions import entries
from peace_pipeline.symmetry.group.elements import Element
from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    LINEAR,
    MIX,
    NORMALISED,
    ORTHOGONAL,
    PERMUTE,
    ROTATE,
    SCALE,
    SHIFT,
    SHUFFLE,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import Axis, Group, WiredLayer, Wiring

_PLAIN = 1e-3
"""Where a permutation with signs and scales agrees but for so much, no other linear map is looked for."""


def match(wiring: Wiring, a: Layers, b: Layers) -> tuple[Aligned, Aligned]:
    """Two networks of one wiring brought into one form: ``b`` keeps the order of its units, ``a`` follows it."""
    folded = wiring.folded
    matching = _Matching(folded, Aligned(folded, a), Aligned(folded, b))
    matching.run()
    return matching.a, matching.b


def like(aligned: Aligned, layers: Layers) -> Aligned:
    """A network that is nearly equal to an aligned one, under the same element but with unit norms of its own."""
    other = Aligned(aligned.wiring, layers)
    for kind in (*(kind.name for kind in fields(Element)), "alive"):
        getattr(other, kind).update(getattr(aligned, kind))
    matching = _Matching(aligned.wiring, other, other)
    for name, old in aligned.scales.items():
        group = aligned.wiring.groups[name]
        if {SCALE, NORMALISED} & {*group.actions}:
            del other.scales[name]
            matching.scale(group)
            other.scales[name] = other.scales[name] * old.sign()
    return other


@dataclass(frozen=True)
class _Occurrence:
    """Where a group occurs: from entry ``start`` on along an axis of the layer at ``position``."""

    position: int
    axis: Axis
    group: str
    start: int


class _Matching:
    """Two networks on the way into one form, and the groups that are settled."""

    def __init__(self, folded: Wiring, a: Aligned, b: Aligned) -> None:
        self.wiring, self.a, self.b = folded, a, b
        self._members: dict[str, list[Group]] = {}
        for group in folded.groups.values():
            self._members.setdefault(folded.order(group.name), []).append(group)
        self._occurrences: dict[str, list[_Occurrence]] = {}
        for occurrence in self._all_occurrences():
            self._occurrences.setdefault(occurrence.group, []).append(occurrence)
        self._settled = {
            order for order, members in self._members.items() if not any(m.actions for m in members)
        }
        self._done: set[str] = set()

    def run(self) -> None:
        """Settle every group: those of which a writer reads settled ones first."""
        for is_last in (False, True):
            for wired in self.wiring.layers:
                if is_last or wired.is_diagonal or not wired.into or self._is_settled(wired.into.group):
                    for axis in reversed(wired.axes) if wired.is_diagonal or is_last else [wired.out]:
                        self._settle_along(axis.group, is_last=is_last)

    def _settle_along(self, name: str, *, is_last: bool = False) -> None:
        for order in self.wiring.orders(name):
            if order not in self._settled and (is_last or self._can_be_told(order)):
                self._settle(order)
        for part in self._parts(name):
            if part not in self._done and (is_last or self._is_ready(self.wiring.groups[part])):
                self.scale(self.wiring.groups[part])
                self._finish(self.wiring.groups[part])

    def _can_be_told(self, order: str) -> bool:
        """Whether anything that has the units of an order can be read."""
        return any(
            group.name in self._occurrences and self._is_ready(group) for group in self._members[order]
        )

    def _settle(self, order: str) -> None:
        """Match the units of an order, and what is free beside their order in those groups that can be read."""
        members = [group for group in self._members[order] if self._is_ready(group)]
        for group in members:
            self.scale(group)
        self._permute(self.wiring.groups[order], members)
        self._settled.add(order)
        for group in members:
            self._finish(group)

    def _finish(self, group: Group) -> None:
        """Settle what is free in a group whose units are matched and scaled."""
        self._shuffle(group)
        self._sign(group)
        self._mix(group)
        self._map_whole(group)
        self._move(group)
        self._done.add(group.name)

    def _is_ready(self, group: Group) -> bool:
        """Whether what the first layer reads that writes a group is settled."""
        writing = self._writing(group)
        return not writing or self._is_readable(self.wiring.layers[writing[0].position])

    def _is_readable(self, wired: WiredLayer) -> bool:
        if wired.into and wired.is_diagonal:
            free = {*self.wiring.groups[wired.into.group].actions}
            is_scaled = SCALE not in free or wired.into.group in self.a.scales
            return wired.into.group in self._done or (is_scaled and not {SIGN, FLIP} & free)
        return wired.into is None or self._is_settled(wired.into.group)

    def _writing(self, group: Group) -> list[_Occurrence]:
        return [
            occurrence
            for occurrence in self._occurrences.get(group.name, ())
            if occurrence.axis.charge == 1 and occurrence.axis is self.wiring.layers[occurrence.position].out
        ]

    def _is_settled(self, name: str) -> bool:
        """Whether a group's order and all that is free in it beside are known, as of those that it is made of."""
        group = self.wiring.groups[name]
        is_ordered = self._settled.issuperset(self.wiring.orders(name))
        is_free = not {*group.actions} <= {PERMUTE} and name not in self._done
        return is_ordered and not is_free and all(map(self._is_settled, group.parts))

    def _all_occurrences(self) -> Iterator[_Occurrence]:
        for position, wired in enumerate(self.wiring.layers):
            for axis in [wired.out] if wired.is_diagonal else wired.axes:
                start = 0
                for part in self._parts(axis.group):
                    yield _Occurrence(position, axis, part, start)
                    start += self.wiring.groups[part].entries

    def _parts(self, name: str) -> Iterator[str]:
        """The groups that a concatenation is made of in the end; another group itself."""
        parts = self.wiring.groups[name].parts
        for part in parts:
            yield from self._parts(part)
        if not parts:
            yield name

    def _row_pairs(self, group: Group) -> Iterator[RowPair]:
        """What is known of a group: its places in layers whose other axis is settled."""
        for occurrence in self._occurrences.get(group.name, ()):
            wired = self.wiring.layers[occurrence.position]
            others = [axis.group for axis in wired.axes if axis is not occurrence.axis]
            is_known = self._is_readable(wired) if wired.is_diagonal else all(map(self._is_settled, others))
            if not is_known:
                continue
            a, b = (self._rows(side, occurrence, group) for side in (self.a, self.b))
            norms = float(a.norm() * b.norm())
            yield RowPair(
                a, b, occurrence.axis.charge, occurrence.axis.bundled, a.numel() / max(norms, 1e-300), norms
            )

    def _rows(self, side: Aligned, occurrence: _Occurrence, group: Group) -> torch.Tensor:
        """The group's entries where it occurs (entries, columns), with their biases where the layer writes them."""
        tensors, axis = side.layer(occurrence.position), occurrence.axis
        wired = self.wiring.layers[occurrence.position]
        front = tensors["weight"].movedim(axis.dim, 0)
        columns = [front.reshape(len(front) // axis.block, -1)]
        is_constant = axis.charge == 1 and {SHIFT, FREE} & {*group.actions}
        if axis is wired.out and "bias" in tensors and not is_constant:
            columns.append(tensors["bias"][:, None])
        count = group.entries // (group.bundle if axis.bundled else 1)
        rows = torch.cat(columns, 1) if len(columns) > 1 else columns[0]
        return rows[occurrence.start : occurrence.start + count]

    def scale(self, group: Group) -> None:
        """Unit norms in, by the first layer that writes the group, in what both networks read; of normalised units as a
        whole."""
        if not {SCALE, NORMALISED} & {*group.actions}:
            return
        writing = self._writing(group)
        first = [occurrence for occurrence in writing if occurrence.position == writing[0].position]
        if not first:
            return
        is_only = len({occurrence.position for occurrence in writing}) == 1
        rows = {
            side: torch.cat([self._rows(side, occurrence, group) for occurrence in first], 1)
            for side in (self.a, self.b)
        }
        is_shared = torch.stack([(side != 0).any(0) for side in rows.values()]).all(0)
        for side, values in rows.items():
            norms = (values * is_shared).norm(dim=1)
            if NORMALISED in group.actions:
                units = norms.view(-1, group.width).norm(dim=1)
                norms = units.repeat_interleave(group.entries // len(units))
            elif is_only and not bool((is_alive := values.norm(dim=1) > DEAD).all()):
                side.alive[group.name] = is_alive
            side.scales[group.name] = to_unit(norms)[None]

    def _permute(self, root: Group, members: list[Group]) -> None:
        if PERMUTE not in root.actions:
            return
        agreed = torch.zeros(root.size, root.size, dtype=torch.float64)
        for group in members:
            if SHUFFLE not in group.actions:  # its entries can't be compared before their units are
                agreed += score(group, [pair.projected() for pair in self._row_pairs(group)])
        order = assigned(agreed, root.bundle)
        self.a.permutations[root.name] = order[None]
        for group in members:
            index = entries(order[None], group.width)[0]
            if group.name in self.a.scales:
                self.a.scales[group.name] = self.a.scales[group.name][:, index]
            if group.name in self.a.alive:
                self.a.alive[group.name] = self.a.alive[group.name][index]

    def _shuffle(self, group: Group) -> None:
        """Match the entries of each unit."""
        if SHUFFLE not in group.actions:
            return
        pairs = [pair.projected() for pair in self._row_pairs(group)]
        orders = []
        for start in range(0, group.entries, group.width):
            own = slice(start, start + group.width)
            unit = replace(group, size=group.width, width=1)
            rows = [replace(pair, a=pair.a[own], b=pair.b[own]) for pair in pairs]
            orders.append(start + assigned(score(unit, rows), 1))
        order = torch.cat(orders)
        self.a.permutations[group.name] = order[None]
        for values in (self.a.scales, self.a.alive):
            if group.name in values:
                values[group.name] = values[group.name][..., order]

    def _sign(self, group: Group) -> None:
        if not {SIGN, FLIP} & {*group.actions}:
            return
        agreement = torch.zeros(group.entries, dtype=torch.float64)
        for pair in self._row_pairs(group):
            if pair.charge:
                agreement += pair.weight * (pair.a * pair.b).sum(1)
        negative = (agreement < 0)[None]
        if FLIP in group.actions:
            self.a.flips[group.name] = negative.double()
        else:
            old = self.a.scales.get(group.name, torch.ones_like(negative, dtype=torch.float64))
            self.a.scales[group.name] = torch.where(negative, -old, old)

    def _mix(self, group: Group) -> None:
        """Maps of units whose entries are mixed."""
        if not {MIX, ROTATE} & {*group.actions}:
            return
        count = group.size // group.bundle
        factors = sides(list(self._row_pairs(group)), count, group)
        if factors:
            a, b = factors
            found = rotations(a, b, group.rotary) if ROTATE in group.actions else mixings(a, b)
            self.a.maps[group.name], self.b.maps[group.name] = found[0][None], found[1][None]

    def _map_whole(self, group: Group) -> None:
        """A linear map of all entries, where a permutation with scales and signs leaves more than twice as much."""
        if not {LINEAR, ORTHOGONAL} & {*group.actions}:
            return
        plain = [pair for pair in self._row_pairs(group) if pair.charge and pair.norms]
        if not plain:
            return
        agreed = sum(pair.weight * float((pair.a * pair.b).sum()) for pair in plain)
        fit = agreed / sum(pair.weight * pair.norms for pair in plain)
        if 1 - fit <= _PLAIN:
            return
        kinds = (self.a.permutations, self.a.scales, self.b.scales, self.a.alive, self.b.alive)
        kept = [kind.pop(group.name, None) for kind in kinds]
        found = self._whole(group)
        if found is None or 1 - fit <= 2 * (1 - found[2]) + 1e-9:
            for kind, value in zip(kinds, kept, strict=True):
                if value is not None:
                    kind[group.name] = value
        else:
            for side, maps in zip((self.a, self.b), found[:2], strict=True):
                if maps is not None:
                    side.maps[group.name] = maps[None]
            if found[3] < group.entries:
                self.a.alive[group.name] = self.b.alive[group.name] = torch.arange(group.entries) < found[3]

    def _whole(self, group: Group) -> tuple[torch.Tensor, torch.Tensor | None, float, int] | None:
        """Maps of both networks, the cosine under them, and how many entries they leave alive."""
        pairs = list(self._row_pairs(group))
        if LINEAR in group.actions:
            factors = sides(pairs, 1, group)
            if factors is None or (rank(factors[0]) < group.entries and len(self._writing(group)) > 1):
                return None
            return mixings(*factors)
        cross = torch.stack([pair.weight * (pair.a @ pair.b.mT).double() for pair in pairs]).sum(0)
        turn, agreed = procrustes(cross)
        fit = float(agreed) / sum(pair.weight * pair.norms for pair in pairs)
        return turn[None], None, fit, group.entries

    def _move(self, group: Group) -> None:
        """Constants that readers take up, or that nothing sees: none."""
        if not {SHIFT, FREE} & {*group.actions}:
            return
        writing = [each for each in self._writing(group) if each.axis.group == group.name]
        layers = self.wiring.layers
        with_bias = (each.position for each in writing if "bias" in layers[each.position].layer.tensors)
        if (position := next(with_bias, None)) is not None:
            for side in (self.a, self.b):
                bias = side.layer(position)["bias"]
                if layers[position].out.bundled:
                    bias = bias.view(-1, group.width).repeat_interleave(group.bundle, 0).flatten()
                side.offsets[group.name] = -bias[None]
