"""How still an embedding stays under symmetries, and how far it moves when the function changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from peace_pipeline.encoder.embed import embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.networks import NetworkTensors
from peace_pipeline.evaluation.population import DECADES, Stack, stacks
from peace_pipeline.symmetry.actions import Tensors, act, add_noise, break_wiring, random_element

SHARES = (0.25, 0.5, 0.75, 1.0)
NOISE = 0.01
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3}
MOVED_AT_LEAST, NOISE_AT_MOST = 0.5, 0.1
SYMMETRIES = ("permutation", "scaling", "both")

Change = Callable[[Stack, torch.Generator], Tensors]


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
    def invariant(self) -> bool:
        """Whether every symmetry moves the embedding by no more than the tolerance of its dtype."""
        return max(self.symmetries.values()) <= TOLERANCE[self.dtype]

    @property
    def sees_broken(self) -> bool:
        """Whether fully broken twins are told apart, and the more so the more units are broken."""
        moved = [self.broken[share] for share in SHARES]
        return moved[-1] >= MOVED_AT_LEAST and moved == sorted(moved)

    @property
    def ignores_noise(self) -> bool:
        """Whether small noise moves the embedding little."""
        return self.noise <= NOISE_AT_MOST


def measure(
    encoder: Encoder, networks: Sequence[NetworkTensors], dtype: torch.dtype, seed: int
) -> Invariance:
    """Measure invariance and false invariance on networks (key, wiring, folded tensors), two at least.

    With embeddings z (networks, dimension) and z' of transformed networks, std is the mean over coordinates of
    the standard deviation of z over networks. Reported are max|z' − z| / std under random permutations, under
    scaling log-uniform in 10^±2 and under both, and mean|z' − z| / std for broken twins and for noise. Networks
    are transformed raw and then go the way of any network: canonical form, reduction, encoder.
    """
    stacked = stacks(networks, dtype)
    generator = torch.Generator().manual_seed(seed)
    original = _embed(encoder, networks, stacked, dtype)
    std = float(original.std(0).mean())

    def moved(change: Change) -> torch.Tensor:
        changed = [Stack(stack.wiring, stack.places, change(stack, generator)) for stack in stacked]
        return (_embed(encoder, networks, changed, dtype) - original).abs() / std

    symmetries = {name: float(moved(change).max()) for name, change in _symmetries().items()}
    broken = {share: float(moved(_broken(share)).mean()) for share in SHARES}
    noise = float(moved(lambda stack, random: add_noise(stack.tensors, NOISE, random)).mean())
    return Invariance(len(networks), dtype, std, symmetries, broken, noise)


def assert_invariant(
    encoder: Encoder, networks: Sequence[NetworkTensors], dtype: torch.dtype = torch.float64, seed: int = 0
) -> None:
    """Assert that permutations and scaling move the embedding of ``networks`` within the dtype's tolerance."""
    found = measure(encoder, networks, dtype, seed)
    assert found.invariant, f"max|Δ|/std {found.symmetries} exceeds {TOLERANCE[dtype]} in {dtype}"


def _symmetries() -> dict[str, Change]:
    def under(permute: bool, decades: float) -> Change:
        def change(stack: Stack, generator: torch.Generator) -> Tensors:
            dtype = next(iter(stack.tensors.values())).dtype
            element = random_element(
                stack.wiring, len(stack), generator, permute=permute, decades=decades, dtype=dtype
            )
            return act(stack.wiring, stack.tensors, element)

        return change

    return dict(zip(SYMMETRIES, (under(True, 0), under(False, DECADES), under(True, DECADES)), strict=True))


def _broken(share: float) -> Change:
    return lambda stack, generator: break_wiring(stack.wiring, stack.tensors, share, generator)


def _embed(
    encoder: Encoder, networks: Sequence[NetworkTensors], stacked: Sequence[Stack], dtype: torch.dtype
) -> torch.Tensor:
    """Embeddings (networks, dimension) of stacked tensors, in the order of ``networks``."""
    inputs = (
        (str(place), networks[place][1], {name: tensor[row] for name, tensor in stack.tensors.items()})
        for stack in stacked
        for row, place in enumerate(stack.places)
    )
    vectors = {int(each.key): torch.from_numpy(each.network) for each in embed(encoder, inputs, dtype)}
    return torch.stack([vectors[place] for place in range(len(networks))])
