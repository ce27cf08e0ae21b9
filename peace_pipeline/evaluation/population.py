"""The networks that an evaluation works on, and other forms of the same functions."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from peace_pipeline.encoder.pairs import DECADES
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.lake.tables import SKIPPED
from peace_pipeline.stages.embed import OUTCOMES
from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, Tensors, random_element
from peace_pipeline.symmetry.network import Network, Stack
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.zoo.listing import Listing, by_batch

Listed = tuple[Listing, Network]
"""A network with its row of the catalogue."""


@dataclass(frozen=True)
class Member:
    """What is known of a network besides its tensors."""

    listing: Listing
    wiring: Wiring

    @property
    def architecture(self) -> str:
        """The architecture that the model's config names, else how it was wired."""
        return self.listing.architecture or self.wiring.method

    @property
    def acted_on(self) -> bool:
        """Whether any symmetry of the network is known."""
        return any(group.actions for group in self.wiring.groups.values())


@dataclass(frozen=True)
class Cohort:
    """Members of one signature, and their folded float32 tensors in the same order."""

    members: tuple[Member, ...]
    stack: Stack

    def __len__(self) -> int:
        return len(self.members)

    @property
    def flat(self) -> list[NDArray[np.float32]]:
        """Each weight and bias (networks, values), in the order of the wiring."""
        names = (name for wired in self.stack.wiring.layers for name in wired.layer.tensors.values())
        return [self.stack.tensors[name].flatten(1).numpy() for name in names]

    def transformed(self, change: Callable[[Stack], Tensors]) -> Cohort:
        """The same members with the tensors that ``change`` gives, computed in float64."""
        double = self.stack.to(torch.float64)
        return replace(self, stack=double.with_tensors(change(double)).to(torch.float32))


def cohorts(networks: Iterable[Listed]) -> list[Cohort]:
    """Networks by signature, in the order in which the signatures come."""
    alike: dict[str, list[Listed]] = defaultdict(list)
    for listing, network in networks:
        alike[network.wiring.signature].append((listing, network))
    return [
        Cohort(
            tuple(Member(listing, network.wiring) for listing, network in pairs),
            Stack.of([network for _, network in pairs]),
        )
        for pairs in alike.values()
    ]


def is_embedded(lake: Lake, version: str) -> str:
    """SQL over the fields of a listing: whether this encoder version could embed the network, as far as is known."""
    outcomes = lake.embeddings(OUTCOMES, version, "[!.]*")
    if not any(outcomes.parent.glob(outcomes.name)):
        return "true"
    files = quoted(f"{glob.escape(str(outcomes.parent))}/{outcomes.name}")
    return f"model_id NOT IN (SELECT model_id FROM read_parquet({files}) WHERE status = '{SKIPPED}')"


def read_listed(lake: Lake, listings: Collection[Listing]) -> Iterator[Listed]:
    """Networks with their tensors, one in memory at a time; each batch's file is opened once."""
    for batch, wanted in by_batch(listings).items():
        for network in read_networks(lake, batch, set(wanted)):
            yield wanted[network.key], network


def disguising(seed: int) -> Callable[[Cohort], Cohort]:
    """What gives the same functions under random permutations and scaling by 10^±2, where each wiring allows them."""
    generator = torch.Generator().manual_seed(seed)

    def change(stack: Stack) -> Tensors:
        element = random_element(
            stack.wiring, len(stack), generator, Strength(decades=DECADES), dtype=torch.float64
        )
        return act(stack.wiring, stack.tensors, element)

    return lambda cohort: cohort.transformed(change)


def in_canonical_form(cohort: Cohort) -> Cohort:
    """The same functions in scale-canonical form."""
    return cohort.transformed(lambda stack: canonical(stack.wiring, stack.tensors))
