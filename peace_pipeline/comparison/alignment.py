"""Two networks side by side: one under the element that was found for it, how well units of both agree, and the maps
that fit one to the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from scipy.optimize import linear_sum_assignment

from peace_pipeline.symmetry.form.matrices import DEAD
from peace_pipeline.symmetry.group.actions import Action, along
from peace_pipeline.symmetry.group.elements import Element, Tensors, turning
from peace_pipeline.symmetry.wiring.symmetries import FLIP, LINEAR, MIX, ROTATE, SIGN
from peace_pipeline.symmetry.wiring.types import Group, WiredLayer, Wiring

Factors = tuple[torch.Tensor, torch.Tensor]
"""What writes the entries of units and what reads them: (units, width, columns) each."""

Layers = Callable[[int], Tensors]
"""Position of a layer → its folded tensors (``weight`` (out, in, *kernel), ``bias`` (out,)), without a batch."""

WIDEST = 1024
"""Columns that units are compared on: where there are more of both, layers are projected to so many at random."""
_AT_ONCE = 4096
"""Columns that are projected at once, so that the projection takes little memory."""

_SMALLEST = 1e-6
"""Singular values of a product of factors, relative to the largest, below which they are taken to be this large."""


class Aligned:
    """One of two networks under the element that was found for it; values are those of a batch of one.

    ``alive`` says of a group's entries which ones count: nothing goes into the others.
    """

    def __init__(self, wiring: Wiring, layers: Layers) -> None:
        self.wiring, self._layers = wiring, layers
        self.permutations: Tensors = {}
        self.scales: Tensors = {}
        self.maps: Tensors = {}
        self.offsets: Tensors = {}
        self.flips: Tensors = {}
        self.alive: Tensors = {}

    def layer(self, position: int) -> Tensors:
        """The layer's ``weight`` and ``bias`` after the element acted on it."""
        wired, tensors = self.wiring.layers[position], self._layers(position)
        named = {name: tensors[role][None] for role, name in wired.layer.tensors.items()}
        acted = Action(self.wiring, self._on(wired)).layer(wired, named.__getitem__)
        found = {role: acted[name] for role, name in wired.layer.tensors.items()}
        for axis in wired.axes:
            alive = self._alive_along(axis.group)
            if alive is not None:
                for role in ("weight", "bias") if axis is wired.out and "bias" in found else ("weight",):
                    dim = 1 + (axis.dim if role == "weight" else 0)
                    found[role] = found[role] * along(alive[None], found[role], dim, axis.block)
        return {role: value[0] for role, value in found.items()}

    def _alive_along(self, name: str) -> torch.Tensor | None:
        group = self.wiring.groups[name]
        parts = [self._alive_along(part) for part in group.parts]
        if all(part is None for part in parts):
            return self.alive.get(name)
        return torch.cat([
            torch.ones(self.wiring.groups[part].entries, dtype=torch.bool) if alive is None else alive
            for part, alive in zip(group.parts, parts, strict=True)
        ])  # fmt: skip

    def _on(self, wired: WiredLayer) -> Element:
        """The part of the element that acts on a layer."""
        names = {name for axis in wired.axes for name in self.wiring.bases(axis.group)}
        return Element(**{
            kind.name: {name: value for name, value in getattr(self, kind.name).items() if name in names}
            for kind in fields(Element)
        })  # fmt: skip


@dataclass(frozen=True)
class RowPair:
    """A group's rows (entries, columns) in one matrix of both networks. ``weight`` makes layers count by the number
    of their values, whatever their norms; ``charge`` is that of the axis."""

    a: torch.Tensor
    b: torch.Tensor
    charge: int
    bundled: bool
    weight: float
    norms: float

    def projected(self) -> RowPair:
        """The same without the columns that the second network has not; where entries and columns are many, in fewer
        columns."""
        a, columns = self.a * (self.b != 0).any(0), self.a.shape[1]
        if min(len(a), columns) <= WIDEST:
            return replace(self, a=a)
        generator = torch.Generator().manual_seed(columns)
        projected = [a.new_zeros(len(a), WIDEST), a.new_zeros(len(a), WIDEST)]
        for one, other in zip(a.split(_AT_ONCE, 1), self.b.split(_AT_ONCE, 1), strict=True):
            onto = torch.randn(one.shape[1], WIDEST, generator=generator, dtype=a.dtype) / WIDEST**0.5
            projected[0] += one @ onto
            projected[1] += other @ onto
        return replace(self, a=projected[0], b=projected[1])


def score(group: Group, pairs: list[RowPair]) -> torch.Tensor:
    """How well each unit of the first network (rows) agrees with each of the second. Units that the second has not (all
    zeros) may be any: the others are those of least squared distance."""
    if {MIX, ROTATE} & {*group.actions}:
        return _score_of_products(group, pairs)
    signed = torch.zeros(group.size, group.size, dtype=torch.float64)
    plain = signed.clone()
    lengths = torch.zeros(2, group.size, dtype=torch.float64)
    for pair in pairs:
        a, b = (_in_units(side, group, pair.bundled).flatten(1) for side in (pair.a, pair.b))
        (signed if pair.charge else plain).add_((a @ b.mT).double(), alpha=pair.weight)
        lengths += pair.weight * torch.stack([a.square().sum(1), b.square().sum(1)])
    agreed = plain + (signed.abs() if {SIGN, FLIP} & {*group.actions} else signed)
    is_there = lengths[1] > 0
    return agreed if bool(is_there.all()) else agreed - lengths[0][:, None] / 2 * is_there


def _score_of_products(group: Group, pairs: list[RowPair]) -> torch.Tensor:
    """Inner products of WᵀR of two units, W what writes their entries and R what reads them: no map changes them."""
    found = sides(pairs, group.size, group)
    if found is None:
        return torch.zeros(group.size, group.size, dtype=torch.float64)
    a, b = found
    total = sum(pair.a.numel() for pair in pairs)
    norms = [float(_products(group, each, each).diagonal().clamp_min(0).sum()) ** 0.5 for each in (a, b)]
    return _products(group, a, b).double() * total / max(norms[0] * norms[1], 1e-300)


def _products(group: Group, a: Factors, b: Factors) -> torch.Tensor:
    """Σ (W Wᵀ′)(R Rᵀ′) over the entries that a map takes to each other, for each two units."""
    rotary = group.rotary if ROTATE in group.actions else 0
    found = torch.zeros(len(a[0]), len(b[0]), dtype=a[0].dtype)
    if rotary:
        written, read = (
            torch.einsum("ipc,jpc->ijp", _complex_pairs(x, rotary), _complex_pairs(y, rotary).conj())
            for x, y in zip(a, b, strict=True)
        )
        found += (written * read.conj()).real.sum(-1)
    if rotary < group.width:
        written, read = (
            torch.einsum("ipc,jqc->ijpq", x[:, rotary:], y[:, rotary:]) for x, y in zip(a, b, strict=True)
        )
        found += (written * read).sum((2, 3))
    return found


def _complex_pairs(units: torch.Tensor, rotary: int) -> torch.Tensor:
    """The pairs of entries that rotary positions turn, as complex numbers (units, pairs, columns)."""
    return torch.complex(units[:, : rotary // 2], units[:, rotary // 2 : rotary])


def _in_units(rows: torch.Tensor, group: Group, bundled: bool) -> torch.Tensor:
    """Rows (entries, columns) as (units, width, columns)."""
    units = rows.unflatten(0, (-1, group.width))
    return units.repeat_interleave(group.bundle, 0) if bundled else units


def sides(pairs: list[RowPair], count: int, group: Group) -> tuple[Factors, Factors] | None:
    """Both networks' factors for ``count`` maps; one that is not known yet has no columns. ``None`` without any.

    Columns of zeros in both (what comes from entries that nothing goes into) are left out.
    """
    width = group.entries if LINEAR in group.actions else group.width
    (written_a, written_b), (read_a, read_b) = (_columns(pairs, count, width, charge) for charge in (1, -1))
    a, b = (written_a, read_a), (written_b, read_b)
    return (a, b) if rank(a) else None


def _columns(pairs: list[RowPair], count: int, width: int, charge: int) -> Factors:
    """One factor of both networks (``count``, ``width``, columns)."""
    alike = [(pair.a, pair.b) for pair in pairs if pair.charge == charge]
    if not alike:
        return torch.zeros(count, width, 0), torch.zeros(count, width, 0)
    a, b = (
        torch.cat([_shared(rows.unflatten(0, (-1, width)), count) for rows in side], 2)
        for side in zip(*alike, strict=True)
    )
    is_used = ((a != 0) | (b != 0)).flatten(0, 1).any(0)
    return a[..., is_used], b[..., is_used]


def rank(factors: Factors) -> int:
    """How many entries the number of columns allows to differ in what they write and what reads them."""
    columns = [factor.shape[2] for factor in factors if factor.shape[2]]
    return min(factors[0].shape[1], *columns) if columns else 0


def _shared(units: torch.Tensor, count: int) -> torch.Tensor:
    """Units (…, width, columns) as those of ``count`` maps, columns of units that share one side by side."""
    if len(units) < count:
        units = units.repeat_interleave(count // len(units), 0)
    return units.unflatten(0, (count, -1)).transpose(1, 2).flatten(2)


def mixings(a: Factors, b: Factors) -> tuple[torch.Tensor, torch.Tensor, float, int]:
    """Maps (units, width, width) that bring both networks' factors into one form, the cosine in that form, and how
    many entries then count.

    Balanced factors are unique up to an orthogonal map; the first network's is turned onto the second's.
    """
    count = rank(a)
    (map_a, *form_a), (map_b, *form_b) = _balanced(*a), _balanced(*b)
    turn, agreed = procrustes(torch.stack([x @ y.mT for x, y in zip(form_a, form_b, strict=True)]).sum(0))
    norms = [sum(float(side.square().sum()) for side in form) ** 0.5 for form in (form_a, form_b)]
    map_a = torch.cat([turn @ map_a[:, :count], map_a[:, count:]], 1)
    map_a, map_b = _of_live_units(map_a, map_b)
    return map_a, map_b, float(agreed.sum()) / max(norms[0] * norms[1], 1e-300), count


def _of_live_units(a: torch.Tensor, b: torch.Tensor) -> Factors:
    """Maps of both networks; nothing is mapped in units that one of them writes or reads with zeros."""
    is_dead = torch.stack([torch.linalg.slogdet(maps)[1].isinf() for maps in (a, b)]).any(0)[:, None, None]
    same = torch.eye(a.shape[-1], dtype=a.dtype)
    return torch.where(is_dead, same, a), torch.where(is_dead, same, b)


def _balanced(written: torch.Tensor, read: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A map whose first entries make the Gram matrices of both factors equal and diagonal, and the factors there.

    With Wᵀ = Q₁R₁ and Rᵀ = Q₂R₂ the product WᵀR is Q₁(R₁R₂ᵀ)Q₂ᵀ, and R₁R₂ᵀ = USVᵀ gives the maps S^-½VᵀR₂ of what is
    written and S^-½UᵀR₁ of what reads it, which are inverse to each other. The map of one factor that stands alone
    makes its rows orthonormal. Entries that the product doesn't have are mapped to what the others don't touch.
    """
    written, read = written.double(), read.double()
    r1, r2 = (torch.linalg.qr(side.mT, mode="r")[1] for side in (written, read))
    if written.shape[2] and read.shape[2]:
        left, values, right = torch.linalg.svd(r1 @ r2.mT, full_matrices=False)
        root = values.clamp_min(float(values.max()) * _SMALLEST + 1e-300).rsqrt()[..., None]
        maps, inverse = root * (right @ r2), root * (left.mT @ r1)
    else:
        _, values, right = torch.linalg.svd(r1 if written.shape[2] else r2, full_matrices=False)
        values = values.clamp_min(float(values.max()) * _SMALLEST + 1e-300)[..., None]
        maps, inverse = (right / values, right * values)[:: 1 if written.shape[2] else -1]
    missing = torch.linalg.svd(inverse)[2][:, inverse.shape[1] :]
    return torch.cat([maps, missing], 1), maps @ written, inverse @ read


def procrustes(cross: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The orthogonal map Q that makes tr(Q · cross) largest, and that trace (Schönemann 1966)."""
    left, values, right = torch.linalg.svd(cross)
    return (left @ right).mT, values.sum(-1)


def rotations(a: Factors, b: Factors, rotary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex factors for pairs of entries, as maps (units, width, width); the entries beyond are mixed."""
    balanced = []
    for written, read in (a, b):
        key, query = _complex_pairs(written.double(), rotary), _complex_pairs(read.double(), rotary)
        ratio = (_length(query) / _length(key)).sqrt()[..., None]
        balanced.append((ratio, key * ratio, query / ratio))
    (ratio_a, *form_a), (ratio_b, *form_b) = balanced
    agreed = torch.stack([(x.conj() * y).sum(-1) for x, y in zip(form_a, form_b, strict=True)]).sum(0)
    phase = torch.polar(torch.ones(agreed.shape, dtype=torch.float64), agreed.angle())
    factors = phase * ratio_a[..., 0], ratio_b[..., 0] + 0j
    rest = [ratio.new_zeros(len(ratio), 0, 0) for ratio in (ratio_a, ratio_b)]
    if rotary < a[0].shape[1]:
        rest = list(mixings((a[0][:, rotary:], a[1][:, rotary:]), (b[0][:, rotary:], b[1][:, rotary:]))[:2])
    return turning(factors[0], rest[0]), turning(factors[1], rest[1])


def _length(pairs: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(pairs, dim=-1).clamp_min(DEAD)


def assigned(score: torch.Tensor, bundle: int) -> torch.Tensor:
    """The unit of the first network for each of the second; units of one bundle stay together."""
    if bundle == 1:
        return torch.from_numpy(linear_sum_assignment(score.mT.numpy(), maximize=True)[1])
    blocks = score.mT.unflatten(0, (-1, bundle)).unflatten(2, (-1, bundle)).transpose(1, 2)
    inner = [[assigned(block.mT, 1) for block in row] for row in blocks]
    best = torch.stack([
        torch.stack([block[torch.arange(bundle), order].sum() for block, order in zip(row, orders, strict=True)])
        for row, orders in zip(blocks, inner, strict=True)
    ])  # fmt: skip
    outer = assigned(best.mT, 1)
    return torch.cat([outer[i] * bundle + inner[i][outer[i]] for i in range(len(outer))])
