"""The networks that an evaluation works on, and other forms of the same functions."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from peace_pipeline.encoder.pairs import DECADES
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.lake.tables import SKIPPED
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.table import read_responses
from peace_pipeline.stages.embed import OUTCOMES
from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, Tensors, random_element
from peace_pipeline.symmetry.network import Network, Stack
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.symmetry.wiring.types import PERMUTABLE, Wiring
from peace_pipeline.zoo.listing import Listing, by_batch


class Listed(NamedTuple):
    """A network with its row of the catalogue, and what it answers where it was run."""

    listing: Listing
    network: Network
    response: Response | None = None


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
    def width(self) -> int:
        """The most neurons of a group that can be permuted: of a hidden layer."""
        groups = self.wiring.groups.values()
        return max((group.size for group in groups if group.kind == PERMUTABLE), default=0)

    @property
    def depth(self) -> int:
        """How many layers it has."""
        return len(self.wiring.layers)

    @property
    def acted_on(self) -> bool:
        """Whether any symmetry of the network is known."""
        return any(group.actions for group in self.wiring.groups.values())


@dataclass(frozen=True)
class Cohort:
    """Members of one signature, and in the same order their folded float32 tensors and what those that were run
    answer."""

    members: tuple[Member, ...]
    stack: Stack
    responses: tuple[Response | None, ...]

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
    for each in networks:
        alike[each.network.wiring.signature].append(each)
    return [
        Cohort(
            tuple(Member(each.listing, each.network.wiring) for each in group),
            Stack.of([each.network for each in group]),
            tuple(each.response for each in group),
        )
        for group in alike.values()
    ]


def is_embedded(lake: Lake, version: str) -> str:
    """SQL over the fields of a listing: whether this encoder version could embed the network, as far as is known."""
    outcomes = lake.embeddings(OUTCOMES, version, "[!.]*")
    if not any(outcomes.parent.glob(outcomes.name)):
        return "true"
    files = quoted(f"{glob.escape(str(outcomes.parent))}/{outcomes.name}")
    return f"model_id NOT IN (SELECT model_id FROM read_parquet({files}) WHERE status = '{SKIPPED}')"


def read_listed(lake: Lake, listings: Collection[Listing]) -> Iterator[Listed]:
    """Networks with their tensors, one in memory at a time, and what they answer, a batch's in memory at a time; each
    batch's files are opened once."""
    for batch, wanted in by_batch(listings).items():
        responses = read_responses(lake, batch, wanted)
        for network in read_networks(lake, batch, set(wanted)):
            yield Listed(wanted[network.key], network, responses.get(network.key))


def acting(strength: Strength, seed: int) -> Callable[[Cohort], Cohort]:
    """What gives the same functions under a random element of each network's symmetries, as its wiring allows."""
    generator = torch.Generator().manual_seed(seed)

    def change(stack: Stack) -> Tensors:
        element = random_element(stack.wiring, len(stack), generator, strength, dtype=torch.float64)
        return act(stack.wiring, stack.tensors, element)

    return lambda cohort: cohort.transformed(change)


def disguising(seed: int) -> Callable[[Cohort], Cohort]:
    """What gives the same functions under random permutations and scaling by 10^±2, where each wiring allows them."""
    return acting(Strength(decades=DECADES), seed)


def in_canonical_form(cohort: Cohort) -> Cohort:
    """The same functions in scale-canonical form."""
    return cohort.transformed(lambda stack: canonical(stack.wiring, stack.tensors))
