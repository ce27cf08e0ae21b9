"""A network in memory, and networks of one signature stacked into one tensor a parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.types import Wiring


@dataclass(frozen=True)
class Network:
    """A network with its norms folded in: ``tensors`` (name → shape) are those of ``wiring.folded``.

    ``key`` is what the network is called: a model id, a path.
    """

    key: str
    wiring: Wiring
    tensors: Mapping[str, torch.Tensor]

    @property
    def size(self) -> int:
        """Number of values."""
        return sum(tensor.numel() for tensor in self.tensors.values())


@dataclass(frozen=True)
class Stack:
    """Networks of one signature: ``tensors`` (name → (batch, *shape)) are those of the layers of ``wiring``."""

    keys: tuple[str, ...]
    wiring: Wiring
    tensors: Tensors

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, networks: Sequence[Network]) -> Stack:
        """Networks of one signature, in this order."""
        wiring = networks[0].wiring.folded
        names = [name for layer in wiring.layers for name in layer.layer.tensors.values()]
        tensors = {name: torch.stack([network.tensors[name] for network in networks]) for name in names}
        return cls(tuple(network.key for network in networks), wiring, tensors)

    @classmethod
    def joined(cls, stacks: Sequence[Stack]) -> Stack:
        """The networks of several stacks of one wiring, in this order."""
        tensors = {name: torch.cat([each.tensors[name] for each in stacks]) for name in stacks[0].tensors}
        return cls(tuple(key for each in stacks for key in each.keys), stacks[0].wiring, tensors)

    def select(self, index: Sequence[int]) -> Stack:
        """The networks at these positions."""
        rows = torch.as_tensor(index, dtype=torch.long)
        tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}
        return replace(self, keys=tuple(self.keys[i] for i in index), tensors=tensors)

    def cut(self, most: int) -> Iterator[Stack]:
        """The same networks in stacks of at most ``most``, in order."""
        for start in range(0, len(self), most):
            rows = slice(start, start + most)
            tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}
            yield replace(self, keys=self.keys[rows], tensors=tensors)

    def with_tensors(self, tensors: Tensors) -> Stack:
        """The same networks with other tensors."""
        return replace(self, tensors=tensors)

    def to(self, where: torch.device | torch.dtype) -> Stack:
        """The stack on another device or of another dtype."""
        return self.with_tensors({name: tensor.to(where) for name, tensor in self.tensors.items()})


def stacked(networks: Iterable[Network]) -> list[Stack]:
    """Networks stacked by signature; each stack keeps their order."""
    alike: dict[str, list[Network]] = defaultdict(list)
    for network in networks:
        alike[network.wiring.signature].append(network)
    return [Stack.of(members) for members in alike.values()]
