"""The registry of baselines: ways to say how similar two networks are, which PEACE is compared with.

A method takes queries, gallery and the training split (all sequences of members) and gives similarities
(queries, gallery). ``-inf`` stands for pairs that it cannot compare: they rank below all others, in random order.
Unless a method says so, weights are read folded but otherwise as they were trained: on the trained zoo that was the
stronger form of most baselines, as scales tell of the training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as np
import torch
from numpy.typing import NDArray

from peace_pipeline.evaluation.population import Member

Members = Sequence[Member]
Similarity = NDArray[np.float64]
Method = Callable[[Members, Members, Members], Similarity]


@dataclass(frozen=True)
class Baseline:
    """A registered method. ``weights_only``: it reads nothing but the weights of queries and gallery."""

    name: str
    title: str
    weights_only: bool
    similarity: Method


BASELINES: dict[str, Baseline] = {}


def baseline(title: str, *, weights_only: bool = True) -> Callable[[Method], Method]:
    """Decorator: register a method under its function's name."""

    def add(method: Method) -> Method:
        BASELINES[method.__name__] = Baseline(method.__name__, title, weights_only, method)
        return method

    return add


def within_signature(method: Method) -> Method:
    """Decorator: apply a method to each signature apart; networks of two signatures can't be compared."""

    @wraps(method)
    def apply(queries: Members, gallery: Members, train: Members) -> Similarity:
        similarity = np.full((len(queries), len(gallery)), -np.inf)
        rows, columns, known = (places_by_signature(members) for members in (queries, gallery, train))
        for signature in rows.keys() & columns.keys():
            row, column = rows[signature], columns[signature]
            similarity[np.ix_(row, column)] = method(
                [queries[i] for i in row],
                [gallery[i] for i in column],
                [train[i] for i in known.get(signature, [])],
            )
        return similarity

    return apply


def places_by_signature(members: Members) -> dict[str, list[int]]:
    """Signature → the positions of its networks."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, member in enumerate(members):
        places[member.wiring.signature].append(place)
    return places


def ordered_tensors(member: Member) -> list[torch.Tensor]:
    """A network's weights and biases in the order of the wiring."""
    layers = member.wiring.folded.layers
    return [member.tensors[name] for layer in layers for name in layer.layer.tensors.values()]
