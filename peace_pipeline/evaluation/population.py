"""The networks that an evaluation works on, with their tensors, and other forms of the same functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from peace_pipeline.encoder.networks import NetworkTensors, read_batch
from peace_pipeline.encoder.pairs import DECADES
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, Tensors, random_element
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.zoo.listing import Listing


@dataclass(frozen=True)
class Member:
    """A network with its wiring and folded float32 tensors (name → shape, without a batch dimension)."""

    network: Listing
    wiring: Wiring
    tensors: Mapping[str, torch.Tensor]

    @property
    def architecture(self) -> str:
        """The architecture that the model's config names, else how it was wired."""
        return self.network.architecture or self.wiring.method

    @property
    def acted_on(self) -> bool:
        """Whether any symmetry of the network is known."""
        return any(group.actions for group in self.wiring.groups.values())

    def as_input(self) -> NetworkTensors:
        """The network as the encoder takes it."""
        return self.network.model_id, self.wiring, dict(self.tensors)


@dataclass(frozen=True)
class Stack:
    """Networks of one signature: ``tensors`` (name → (batch, *shape)) raw, under the folded ``wiring``.

    ``places`` are the networks' positions in the sequence that they were stacked from.
    """

    wiring: Wiring
    places: tuple[int, ...]
    tensors: Tensors

    def __len__(self) -> int:
        return len(self.places)


def read_members(lake: Lake, networks: Collection[Listing]) -> Iterator[Member]:
    """Read the tensors of ``networks``; each batch's file is opened once."""
    batches: dict[str, dict[str, Listing]] = defaultdict(dict)
    for network in networks:
        batches[network.batch][network.model_id] = network
    for batch, wanted in sorted(batches.items()):
        for model_id, wiring, tensors in read_batch(lake, batch, set(wanted)):
            yield Member(wanted[model_id], wiring, tensors)


def stacks(networks: Sequence[NetworkTensors], dtype: torch.dtype) -> list[Stack]:
    """Stack (key, wiring, folded tensors) by signature, as they are: no canonical form is taken."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, (_, wiring, _) in enumerate(networks):
        places[wiring.signature].append(place)
    found = []
    for alike in places.values():
        wiring = networks[alike[0]][1].folded
        names = [name for layer in wiring.layers for name in layer.layer.tensors.values()]
        tensors = {name: torch.stack([networks[i][2][name].to(dtype) for i in alike]) for name in names}
        found.append(Stack(wiring, tuple(alike), tensors))
    return found


def transformed(members: Sequence[Member], change: Callable[[Stack], Tensors]) -> list[Member]:
    """The members with the tensors that ``change`` gives for each stack of them, computed in float64."""
    found = list(members)
    for stack in stacks([member.as_input() for member in members], torch.float64):
        changed = change(stack)
        for row, place in enumerate(stack.places):
            tensors = {name: tensor[row].float() for name, tensor in changed.items()}
            found[place] = replace(members[place], tensors=tensors)
    return found


def disguise(members: Sequence[Member], seed: int) -> list[Member]:
    """The same functions under random permutations and scaling by 10^±2, where each wiring allows them."""
    generator = torch.Generator().manual_seed(seed)

    def change(stack: Stack) -> Tensors:
        element = random_element(
            stack.wiring, len(stack), generator, Strength(decades=DECADES), dtype=torch.float64
        )
        return act(stack.wiring, stack.tensors, element)

    return transformed(members, change)


def in_canonical_form(members: Sequence[Member]) -> list[Member]:
    """The same functions in scale-canonical form."""
    return transformed(members, lambda stack: canonical(stack.wiring, stack.tensors))
