"""How still an embedding stays under symmetries, and how far it moves when the function changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from peace_pipeline.encoder.embed import embed_stacks
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.symmetry.form.folding import folded
from peace_pipeline.symmetry.group.elements import Strength, Tensors
from peace_pipeline.symmetry.group.perturbations import add_noise, break_wiring
from peace_pipeline.symmetry.network import Network, Stack, stacked
from peace_pipeline.symmetry.testing import (
    STRENGTHS,
    TOLERANCE,
    acted,
    assert_invariant,
    has_any,
    movement,
    spread,
)

SHARES = (0.25, 0.5, 0.75, 1.0)
NOISE = 0.01
MOVED_AT_LEAST, NOISE_AT_MOST = 0.5, 0.1

Change = Callable[[Stack, torch.Generator], Tensors]
Embed = Callable[[Sequence[Stack], torch.dtype], torch.Tensor]
"""Folded stacks, to compute with in a dtype → embeddings (networks, dimension), in the order of the stacks."""


@dataclass(frozen=True)
class Invariance:
    """Movements of the embedding in units of the spread over ``networks`` untransformed networks.

    ``still`` are the largest movements of any coordinate of any network, by dtype and symmetry; a symmetry that
    none of the networks has is left out. ``broken`` are mean movements by share of broken units, ``noise`` that
    under 1% weight noise, both in float32. ``std`` is the spread in float64.
    """

    networks: int
    std: float
    still: dict[torch.dtype, dict[str, float]]
    broken: dict[float, float]
    noise: float

    def misses(self, dtype: torch.dtype) -> list[str]:
        """The symmetries that move the embedding by more than the tolerance (or by what is no number)."""
        return [name for name, moved in self.still[dtype].items() if not moved <= TOLERANCE[dtype]]

    @property
    def sees_broken(self) -> bool:
        """Whether fully broken twins are told apart, and the more so the more units are broken."""
        moved = [self.broken[share] for share in SHARES]
        return moved[-1] >= MOVED_AT_LEAST and moved == sorted(moved)

    @property
    def ignores_noise(self) -> bool:
        """Whether small noise moves the embedding little."""
        return self.noise <= NOISE_AT_MOST


class Movements:
    """Measures how far changes of networks (two at least) move their embeddings.

    With embeddings z (networks, dimension) and z' of the changed networks, movements are |z' − z| / std, where std
    is the mean over coordinates of the standard deviation of z over networks. Symmetries act on the tensors as they
    are given; networks then go the way of any network: norms folded in, canonical form, reduction, encoder.
    """

    def __init__(self, embed: Embed, sample: Sequence[Stack], dtype: torch.dtype, seed: int) -> None:
        self.embed, self.dtype, self.seed = embed, dtype, seed
        self.stacks = [stack.to(dtype) for stack in sample]
        self.folded = [folded(stack) for stack in self.stacks]
        self.original = embed(self.folded, dtype)
        self.std = float(spread(self.original))

    def still(self) -> dict[str, float]:
        """The largest movement under each symmetry that any of the networks has."""
        return {
            name: float(
                self._moved([folded(stack) for stack in self._changed(self.stacks, _acted(strength))]).max()
            )
            for name, strength in STRENGTHS.items()
            if any(has_any(stack.wiring, strength) for stack in self.stacks)
        }

    def broken(self, share: float) -> float:
        """The mean movement of broken twins: a larger share breaks what a smaller does and more."""
        return self._mean(lambda stack, random: break_wiring(stack.wiring, stack.tensors, share, random))

    def noise(self) -> float:
        """The mean movement under small weight noise."""
        return self._mean(lambda stack, random: add_noise(stack.tensors, NOISE, random))

    def _mean(self, change: Change) -> float:
        return float(self._moved(self._changed(self.folded, change)).mean())

    def _changed(self, stacks: Sequence[Stack], change: Change) -> list[Stack]:
        """Every change begins with the same seed."""
        generator = torch.Generator().manual_seed(self.seed)
        return [stack.with_tensors(change(stack, generator)) for stack in stacks]

    def _moved(self, changed: Sequence[Stack]) -> torch.Tensor:
        """Movements (networks, dimension)."""
        return movement(self.original, self.embed(changed, self.dtype))


def by_weights(encoder: Encoder) -> Embed:
    """How an encoder (which stays as it is) embeds networks by their weights alone."""
    copies = {dtype: deepcopy(encoder).to(dtype) for dtype in TOLERANCE}

    def embed(stacks: Sequence[Stack], dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.stack([e.weights for e in embed_stacks(copies[dtype], stacks, dtype)]))

    return embed


def measure(embed: Embed, sample: Sequence[Stack], seed: int) -> Invariance:
    """Invariance and false invariance of embeddings on the networks of ``sample``."""
    by_dtype = {dtype: Movements(embed, sample, dtype, seed) for dtype in TOLERANCE}
    single = by_dtype[torch.float32]
    return Invariance(
        networks=sum(map(len, sample)),
        std=by_dtype[torch.float64].std,
        still={dtype: movements.still() for dtype, movements in by_dtype.items()},
        broken={share: single.broken(share) for share in SHARES},
        noise=single.noise(),
    )


def assert_embedding_invariant(
    embed: Embed, networks: Sequence[Network], dtype: torch.dtype = torch.float64
) -> None:
    """Assert that no symmetry moves the embeddings of ``networks``, all of which have some, by more than the dtype's
    tolerance: those of one signature are measured together, two at least. See :func:`assert_invariant`."""
    for stack in (each.to(dtype) for each in stacked(networks)):

        def embedded(tensors: Tensors, stack: Stack = stack) -> torch.Tensor:
            return embed([folded(stack.with_tensors(tensors))], dtype)

        assert_invariant(embedded, stack.wiring, stack.tensors)


def _acted(strength: Strength) -> Change:
    return lambda stack, generator: acted(stack.wiring, stack.tensors, strength, generator)
