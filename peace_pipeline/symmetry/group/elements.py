"""Elements of a network's symmetry group, and how they are sampled at random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    GAIN,
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
from peace_pipeline.symmetry.wiring.types import Group, Wiring

Tensors = dict[str, torch.Tensor]
Values = Mapping[str, torch.Tensor]
Actions = tuple[str, ...]


@dataclass(frozen=True)
class Element:
    """An element of the symmetry group, for a batch of networks, by group name.

    The new unit i is the old unit ``permutations[i]`` (batch, units); of a group whose entries are shuffled within its
    units, which are along another group, the new entry is the one at ``permutations[i]`` (batch, entries) after the
    units are in their order. Its entries are then mapped by ``maps``
    (batch, maps, n, n: one for all units, for each, or for each bundle of them), multiplied by ``scales`` (batch,
    entries; of any sign) and moved by ``offsets`` (batch, entries). Units of a group that is ``along`` another follow
    its permutation and its maps. Where ``flips`` (batch, entries) is 1 a sigmoid's input has another sign.
    """

    permutations: Values = field(default_factory=dict)
    scales: Values = field(default_factory=dict)
    maps: Values = field(default_factory=dict)
    offsets: Values = field(default_factory=dict)
    flips: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Strength:
    """Which random elements are sampled, by kind of symmetry; scales are log-uniform in 10^±``decades``."""

    permute: bool = True
    heads: bool = True
    decades: float = 0.0
    signs: bool = False
    mix: bool = False

    def sampled(self, wiring: Wiring, group: Group) -> Actions:
        """The actions on a group that elements are sampled from."""
        moves = self.heads if is_of_heads(wiring, group) else self.permute
        scales = bool(self.decades)
        wanted = {
            PERMUTE: moves,
            SHUFFLE: self.permute,
            SCALE: scales,
            NORMALISED: scales,
            SIGN: self.signs,
            FLIP: self.signs,
        }
        return tuple(action for action in group.actions if wanted.get(action, self.mix))


_ACTIONS = (
    PERMUTE, SHUFFLE, SCALE, SIGN, FLIP, MIX, ROTATE, LINEAR, ORTHOGONAL, NORMALISED, GAIN, SHIFT, FREE
)  # fmt: skip
ALL = Strength(decades=2.0, signs=True, mix=True)
_GAIN_DECADES = 0.5


def random_element(
    wiring: Wiring,
    batch: int,
    generator: torch.Generator,
    strength: Strength = Strength(),
    *,
    dtype: torch.dtype = torch.float32,
) -> Element:
    """A random element of the symmetry group: uniform permutations and signs, log-uniform scales, maps of a condition
    number of at most 10, normal offsets."""
    sampler = _Sampler(batch, generator, strength.decades, dtype)
    kinds = (sampler.permutation, sampler.scale, sampler.map, sampler.offset, sampler.flip)
    element: list[dict[str, torch.Tensor]] = [{} for _ in kinds]
    for group in wiring.acting(*_ACTIONS):
        actions = strength.sampled(wiring, group)
        for values, kind in zip(element, kinds, strict=True):
            value = kind(group, actions)
            if value is not None:
                values[group.name] = value
    return Element(*element)


@dataclass(frozen=True)
class _Sampler:
    """Samples what the ``actions`` of an element do to a group."""

    batch: int
    generator: torch.Generator
    decades: float
    dtype: torch.dtype

    def permutation(self, group: Group, actions: Actions) -> torch.Tensor | None:
        if SHUFFLE in actions:
            within = self._uniform(group.size, group.width).argsort(2)
            return (torch.arange(group.size)[:, None] * group.width + within).flatten(1)
        if PERMUTE not in actions:
            return None
        bundles = self._uniform(group.size // group.bundle).argsort(1)
        within = self._uniform(group.size // group.bundle, group.bundle).argsort(2)
        return (bundles[..., None] * group.bundle + within).flatten(1)

    def map(self, group: Group, actions: Actions) -> torch.Tensor | None:
        units = group.size // group.bundle
        if ORTHOGONAL in actions:
            return self._orthogonal(1, group.entries)
        if LINEAR in actions:
            return self._invertible(1, group.entries)
        if MIX in actions:
            return self._invertible(units, group.width)
        return self._rotation(units, group) if ROTATE in actions else None

    def scale(self, group: Group, actions: Actions) -> torch.Tensor | None:
        scale = None
        if SCALE in actions:
            scale = 10 ** (self.decades * (2 * self._uniform(group.entries) - 1))
        if SIGN in actions:
            scale = self._sign(group.entries) * (1 if scale is None else scale)
        if GAIN in actions:
            scale = self._sign(group.entries) * 10 ** (_GAIN_DECADES * (2 * self._uniform(group.entries) - 1))
        if NORMALISED in actions:
            factors = 10 ** (self.decades * self._uniform(group.size // group.bundle))
            scale = factors.repeat_interleave(group.bundle * group.width, 1)
        return scale

    def offset(self, group: Group, actions: Actions) -> torch.Tensor | None:
        if not {SHIFT, FREE} & {*actions}:
            return None
        offsets = self._normal(group.size // group.bundle, group.width)
        return offsets.repeat_interleave(group.bundle, 1).flatten(1)

    def flip(self, group: Group, actions: Actions) -> torch.Tensor | None:
        return (self._sign(group.entries) + 1) / 2 if FLIP in actions else None

    def _uniform(self, *size: int) -> torch.Tensor:
        return torch.rand(self.batch, *size, generator=self.generator, dtype=self.dtype)

    def _normal(self, *size: int) -> torch.Tensor:
        return torch.randn(self.batch, *size, generator=self.generator, dtype=self.dtype)

    def _sign(self, size: int) -> torch.Tensor:
        return 1 - 2 * torch.randint(2, (self.batch, size), generator=self.generator).to(self.dtype)

    def _orthogonal(self, count: int, size: int) -> torch.Tensor:
        return torch.linalg.qr(self._normal(count, size, size))[0]

    def _invertible(self, count: int, size: int) -> torch.Tensor:
        """Matrices (batch, count, size, size) with singular values log-uniform in 10^±½."""
        values = 10 ** (self._uniform(count, size) - 0.5)
        return (self._orthogonal(count, size) * values[..., None, :]) @ self._orthogonal(count, size)

    def _rotation(self, count: int, group: Group) -> torch.Tensor:
        """Complex factors of modulus 10^±½ for the pairs of entries (j, j + rotary/2); the rest is mixed."""
        half = group.rotary // 2
        angle, radius = 2 * math.pi * self._uniform(count, half), 10 ** (self._uniform(count, half) - 0.5)
        return turning(torch.polar(radius, angle), self._invertible(count, group.width - group.rotary))


def turning(factors: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Maps (…, n, n) that multiply the pairs of entries (j, j + p) by complex ``factors`` (…, p), as rotary positions
    pair them, and map the entries beyond them by ``rest`` (…, n − 2p, n − 2p)."""
    real, imaginary = torch.diag_embed(factors.real), torch.diag_embed(factors.imag)
    rotary, width = 2 * factors.shape[-1], 2 * factors.shape[-1] + rest.shape[-1]
    maps = real.new_zeros(*factors.shape[:-1], width, width)
    maps[..., :rotary, :rotary] = torch.cat(
        [torch.cat([real, -imaginary], -1), torch.cat([imaginary, real], -1)], -2
    )
    maps[..., rotary:, rotary:] = rest
    return maps


def is_of_heads(wiring: Wiring, group: Group) -> bool:
    """Whether the units of a group are attention heads."""
    return any(other.along == group.name and other.width > 1 for other in wiring.following(group.name))
