"""What methods read of networks: a vector each. Tensors pass by in chunks and only the vectors are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder.embed import chunks
from peace_pipeline.evaluation.population import Cohort, Listed, Member, cohorts
from peace_pipeline.symmetry.network import Network

Vectors = NDArray[np.floating]
Reader = Callable[[Cohort], Iterable[Vectors]]
"""Gives a vector for each of a cohort's networks; their length must not grow with the networks."""


@dataclass(frozen=True)
class Readings:
    """Networks with a vector each, of one length within a signature where it is read of weights; no vectors where
    nothing is read of them."""

    members: Sequence[Member]
    vectors: Sequence[Vectors] = ()

    def __len__(self) -> int:
        return len(self.members)

    @property
    def matrix(self) -> Vectors:
        """The vectors (networks, length) of networks of one signature, or of a reader of one length."""
        return np.stack(self.vectors)

    def select(self, places: Sequence[int] | NDArray[np.int64]) -> Readings:
        """The networks at these places."""
        vectors = [self.vectors[place] for place in places] if self.vectors else ()
        return Readings([self.members[place] for place in places], vectors)

    def by_signature(self) -> dict[str, list[int]]:
        """Signature → the places of its networks."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, member in enumerate(self.members):
            places[member.wiring.signature].append(place)
        return dict(places)


def read(
    networks: Iterable[Listed],
    readers: Mapping[str, Reader | None],
    change: Callable[[Cohort], Cohort] | None = None,
) -> dict[str, Readings]:
    """What each reader reads of networks (after a ``change`` of each cohort), by the reader's name, in their order.

    In memory at a time: the tensors of two chunks (:func:`peace_pipeline.encoder.embed.chunks`), the one that is read
    and the next, and all vectors. A reader under several names reads once.
    """
    members: dict[str, Member] = {}
    found: dict[Reader, dict[str, Vectors]] = {reader: {} for reader in readers.values() if reader}
    for chunk in _chunks(networks):
        members |= {each.network.key: Member(each.listing, each.network.wiring) for each in chunk}
        for cohort in cohorts(chunk):
            read_form = change(cohort) if change else cohort
            for reader, vectors in found.items():
                vectors |= zip(cohort.stack.keys, reader(read_form), strict=True)
    return {
        name: Readings(list(members.values()), [found[reader][key] for key in members] if reader else ())
        for name, reader in readers.items()
    }


def _chunks(networks: Iterable[Listed]) -> Iterable[list[Listed]]:
    waiting: dict[str, Listed] = {}

    def passing() -> Iterable[Network]:
        for each in networks:
            waiting[each.network.key] = each
            yield each.network

    for chunk in chunks(passing()):
        yield [waiting.pop(network.key) for network in chunk]
