"""How still an embedding stays under symmetries, and how far it moves when the function changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from peace_pipeline.encoder.embed import embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.networks import NetworkTensors
from peace_pipeline.encoder.pairs import DECADES
from peace_pipeline.evaluation.population import Stack, stacks
from peace_pipeline.symmetry.actions import (
    Strength,
    Tensors,
    act,
    add_noise,
    break_wiring,
    random_element,
)

SHARES = (0.25, 0.5, 0.75, 1.0)
NOISE = 0.01
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3}
MOVED_AT_LEAST, NOISE_AT_MOST = 0.5, 0.1
Change = Callable[[Stack, torch.Generator], Tensors]


def _act(permute: bool, decades: float, stack: Stack, generator: torch.Generator) -> Tensors:
    dtype = next(iter(stack.tensors.values())).dtype
    strength = Strength(permute=permute, heads=permute, decades=decades)
    element = random_element(stack.wiring, len(stack), generator, strength, dtype=dtype)
    return act(stack.wiring, stack.tensors, element)


def _broken(share: float, stack: Stack, generator: torch.Generator) -> Tensors:
    return break_wiring(stack.wiring, stack.tensors, share, generator)


def _noisy(stack: Stack, generator: torch.Generator) -> Tensors:
    return add_noise(stack.tensors, NOISE, generator)


SYMMETRIES: dict[str, Change] = {
    "permutation": partial(_act, True, 0.0),
    "scaling": partial(_act, False, DECADES),
    "both": partial(_act, True, DECADES),
}


@dataclass(frozen=True)
class Invariance:
    """Movements of the embedding in units of ``std``, the spread over ``networks`` untransformed networks.

    ``symmetries`` are the largest movements of any coordinate of any network, by name of the transformation;
    ``broken`` are mean movements by share of broken units, ``noise`` that under 1% weight noise.
    """

    networks: int
    dtype: torch.dtype
    std: float
    symmetries: dict[str, float]
    broken: dict[float, float]
    noise: float

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
    """Measures how far changes of networks (key, wiring, folded tensors; two at least) move their embeddings.

    With embeddings z (networks, dimension) and z' of the changed networks, movements are |z' − z| / std, where std
    is the mean over coordinates of the standard deviation of z over networks. Networks are changed raw and then
    go the way of any network: canonical form, reduction, encoder.
    """

    def __init__(
        self, encoder: Encoder, networks: Sequence[NetworkTensors], dtype: torch.dtype, seed: int
    ) -> None:
        self.encoder, self.networks, self.dtype, self.seed = encoder, networks, dtype, seed
        self.stacks = stacks(networks, dtype)
        self.original = self._embed(self.stacks)
        self.std = float(self.original.std(0).mean())

    def under(self, change: Change) -> torch.Tensor:
        """Movements (networks, dimension).

        Every change begins with the same seed: of two shares, the larger breaks what the smaller does and more.
        """
        generator = torch.Generator().manual_seed(self.seed)
        changed = [replace(stack, tensors=change(stack, generator)) for stack in self.stacks]
        return (self._embed(changed) - self.original).abs() / self.std

    def symmetries(self) -> dict[str, float]:
        """The largest movement under random permutations, under scaling log-uniform in 10^±2, under both."""
        return {name: float(self.under(change).max()) for name, change in SYMMETRIES.items()}

    def _embed(self, stacked: Sequence[Stack]) -> torch.Tensor:
        """Embeddings (networks, dimension), in the order of the networks."""
        inputs = (
            (
                str(place),
                self.networks[place][1],
                {name: values[row] for name, values in stack.tensors.items()},
            )
            for stack in stacked
            for row, place in enumerate(stack.places)
        )
        vectors = {
            each.key: torch.from_numpy(each.network) for each in embed(self.encoder, inputs, self.dtype)
        }
        return torch.stack([vectors[str(place)] for place in range(len(self.networks))])


def measure(
    encoder: Encoder, networks: Sequence[NetworkTensors], dtype: torch.dtype, seed: int
) -> Invariance:
    """Invariance and false invariance of an encoder on ``networks``."""
    movements = Movements(encoder, networks, dtype, seed)
    symmetries = movements.symmetries()
    broken = {share: float(movements.under(partial(_broken, share)).mean()) for share in SHARES}
    return Invariance(
        len(networks), dtype, movements.std, symmetries, broken, float(movements.under(_noisy).mean())
    )


def assert_invariant(
    encoder: Encoder, networks: Sequence[NetworkTensors], dtype: torch.dtype = torch.float64, seed: int = 0
) -> None:
    """Assert that permutations and scaling move the embedding of ``networks`` within the dtype's tolerance."""
    found = Movements(encoder, networks, dtype, seed).symmetries()
    assert max(found.values()) <= TOLERANCE[dtype], (
        f"max|Δ|/std {found} exceeds {TOLERANCE[dtype]} in {dtype}"
    )
