"""The standard probes: inputs that every network of a kind is asked, whatever its shape.

Numbers are functions: each probe is a picture on the unit square, or a signal along its raster, sampled where an input
has its positions. So a picture of 8×8, a signal of 64 values and a row of 64 measurements get the same 64 numbers, and
their networks' answers can be compared. Tokens are ids, which networks share where their vocabularies do; text are the
standard sentences, which a network's own tokenizer has made ids of.

Everything is drawn by PCG64 from fixed seeds, so the probes are the same on every machine; ``standard.VERSION`` names
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from peace_pipeline.responses.standard import PROBES, TEXT, TOKENS

Floats = NDArray[np.float64]
COLOURS = (1, 3)
"""Channels of pictures."""


@dataclass(frozen=True)
class InputSpec:
    """What a network takes, of one example: ``shape``; for tokens how many there are and which are special; for text
    the standard ``sentences`` in its tokens.

    Numbers are [n], [channels, n] or [channels, height, width]; a recurrent network's [steps, features] are a picture
    of one channel.
    """

    kind: str
    shape: tuple[int, ...]
    channels_first: bool = True
    vocabulary: int = 0
    padding: int = 0
    first: int | None = None
    sentences: tuple[tuple[int, ...], ...] = ()

    @property
    def raster(self) -> tuple[int, int, int]:
        """Channels, height and width of the grid that the positions stand for; one line of n is a near-square."""
        shape = self.shape if self.channels_first and len(self.shape) > 1 else (1, *self.shape)
        if len(shape) == 3:
            return shape
        width = math.isqrt(shape[1] - 1) + 1
        return shape[0], -(-shape[1] // width), width


def has_channels_last(sizes: Sequence[int | None]) -> bool:
    """Whether the sizes of an example, ``None`` where one is open, are a picture's with its channels last."""
    return len(sizes) == 3 and sizes[2] in COLOURS and sizes[0] not in COLOURS


def probes(spec: InputSpec, start: int = 0, stop: int = PROBES) -> torch.Tensor:
    """Probes ``start`` to ``stop`` (probes, *spec.shape): float32 numbers, or int64 ids."""
    if spec.kind == TEXT:
        return _padded(spec, start, stop)
    if spec.kind == TOKENS:
        return torch.from_numpy(_token_ids(spec)[start:stop])
    channels, height, width = spec.raster
    positions = math.prod(spec.shape) // channels
    return torch.from_numpy(
        _pictures(height, width, positions, channels, start, stop).reshape(-1, *spec.shape)
    )


def _padded(spec: InputSpec, start: int, stop: int) -> torch.Tensor:
    found = torch.full((stop - start, *spec.shape), spec.padding)
    for row, sentence in zip(found, spec.sentences[start:stop], strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    return found


@lru_cache(maxsize=8)
def _token_ids(spec: InputSpec) -> NDArray[np.int64]:
    """Ids, low ones more often as in most vocabularies, in sequences of all lengths from a quarter up."""
    generator, length = _generator(_TOKEN_SEED), spec.shape[0]
    drawn, share = generator.random((PROBES, length)), generator.uniform(0.25, 1, (PROBES, 1))
    special = 1 + max(spec.padding, spec.first or 0)
    lowest = special if special < spec.vocabulary // 2 else 0
    ids = lowest + (drawn**2 * (spec.vocabulary - lowest)).astype(np.int64)
    if spec.first is not None:
        ids[:, 0] = spec.first
    return np.where(np.arange(length) < np.ceil(share * length), ids, spec.padding)


Basis = Callable[[Floats, Floats, Floats], Floats]
"""Functions (positions, functions) at heights, widths and places along the raster, all in [0, 1]."""


@dataclass(frozen=True)
class _Family:
    """Probes of one kind: random sums of the functions of a basis, ``weights`` of which say how much each counts.

    A sum is standardised over the square, or mapped to [0, 1] where ``positive``; ``shaped`` bends it first.
    """

    basis: Basis
    weights: Floats
    positive: bool = False
    shaped: Callable[[Floats], Floats] = lambda values: values


def _waves(most: int) -> tuple[Basis, Floats]:
    """Plane waves of at most ``most`` half-periods a side; low frequencies count more (amplitude 1/f)."""
    pairs = [(a, b) for a in range(most + 1) for b in range(-most, most + 1) if (a, b) > (0, 0)]
    frequency = np.pi * np.array(pairs, float)

    def basis(y: Floats, x: Floats, _: Floats) -> Floats:
        angle = np.stack([y, x], 1) @ frequency.T
        return np.concatenate([np.cos(angle), np.sin(angle)], 1)

    amplitude = 1 / np.linalg.norm(frequency, axis=1)
    return basis, np.concatenate([amplitude, amplitude])


def _band(most: int) -> tuple[Basis, Floats]:
    """Waves of at most ``most`` half-periods along the raster."""
    frequency = np.pi * np.arange(1, most + 1)

    def basis(_: Floats, __: Floats, place: Floats) -> Floats:
        angle = place[:, None] * frequency
        return np.concatenate([np.cos(angle), np.sin(angle)], 1)

    return basis, np.ones(2 * most)


def _cells(side: int) -> tuple[Basis, Floats]:
    """The cells of a lattice: one is where a position lies in it."""

    def basis(y: Floats, x: Floats, _: Floats) -> Floats:
        cell = (y * side).astype(int) * side + (x * side).astype(int)
        return np.eye(side * side)[cell]

    return basis, np.ones(side * side)


def _bumps(side: int) -> tuple[Basis, Floats]:
    """Smooth bumps around the points of a lattice, few of which count."""
    points = (np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1).reshape(-1, 2) + 0.5) / side

    def basis(y: Floats, x: Floats, _: Floats) -> Floats:
        distance = np.square(np.stack([y, x], 1)[:, None] - points).sum(2)
        return np.exp(-distance * side * side)

    return basis, np.ones(side * side)


_WAVES = _waves(4)
_FAMILIES = (
    _Family(*_waves(2)),
    _Family(*_band(8)),
    _Family(*_cells(8)),
    _Family(*_WAVES),
    _Family(*_waves(3), positive=True),
    _Family(*_band(24)),
    _Family(*_bumps(6), shaped=lambda values: np.maximum(values, 0) ** 3),
    _Family(*_WAVES, shaped=lambda values: np.tanh(4 * values)),
)
"""They take turns, so that any number of first probes has equal parts of each."""
_SEED, _TOKEN_SEED = 20_240, 20_241
_SHARED = 0.7
"""Of the variance of a further channel is that of the first."""
_GRID = 48
"""Positions a side over which probes are standardised."""
_STRIP = 1 << 16
"""Positions at which functions are evaluated together, at most: 166 MB of the values of all."""


def _generator(*seed: int) -> Generator:
    return Generator(np.random.PCG64(np.random.SeedSequence(seed)))


@lru_cache(maxsize=256)
def _coefficients(family: int, channel: int) -> Floats:
    """How much each function of a family's basis counts: (functions, probes of the family)."""
    own = _FAMILIES[family]
    size = len(own.weights), PROBES // len(_FAMILIES)
    drawn = _generator(_SEED, family, channel).standard_normal(size) * own.weights[:, None]
    if channel == 0:
        return drawn
    return math.sqrt(_SHARED) * _coefficients(family, 0) + math.sqrt(1 - _SHARED) * drawn


@lru_cache(maxsize=256)
def _standard(family: int, channel: int) -> tuple[Floats, Floats]:
    """What is subtracted from each of a family's probes, and what it is divided by then."""
    own = _FAMILIES[family]
    whole = own.shaped(own.basis(*_grid(_GRID, _GRID)) @ _coefficients(family, channel))
    if own.positive:
        return whole.min(0), whole.max(0) - whole.min(0)
    return whole.mean(0), whole.std(0)


def _pictures(
    height: int, width: int, positions: int, channels: int, start: int, stop: int
) -> NDArray[np.float32]:
    """The probes at the first ``positions`` of a raster (probes, channels, positions)."""
    values = np.empty((stop - start, channels, positions), np.float32)
    for begin in range(0, positions, _STRIP):
        strip = slice(begin, min(begin + _STRIP, positions))
        for family, own in enumerate(_FAMILIES):
            first = (family - start) % len(_FAMILIES)
            numbers = slice((start + first) // len(_FAMILIES), (stop - 1 - family) // len(_FAMILIES) + 1)
            functions = _functions(own.basis, height, width, strip.start, strip.stop)
            for channel in range(channels):
                drawn = own.shaped(functions @ _coefficients(family, channel)[:, numbers])
                least, unit = (each[numbers] for each in _standard(family, channel))
                drawn = (drawn - least) / unit
                values[first :: len(_FAMILIES), channel, strip] = (
                    drawn.clip(0, 1) if own.positive else drawn
                ).T
    return values


@lru_cache(maxsize=len({own.basis for own in _FAMILIES}))
def _functions(basis: Basis, height: int, width: int, start: int, stop: int) -> Floats:
    """A basis at some positions of a raster. Those of one strip are kept: to evaluate them costs far more than sums."""
    y, x, place = (each[start:stop] for each in _grid(height, width))
    return basis(y, x, place)


def _grid(height: int, width: int) -> tuple[Floats, Floats, Floats]:
    """Heights and widths of the positions of a raster, and how far along it they are."""
    y, x = ((np.arange(size) + 0.5) / size for size in (height, width))
    grid = np.meshgrid(y, x, indexing="ij")
    return grid[0].ravel(), grid[1].ravel(), (np.arange(height * width) + 0.5) / (height * width)
