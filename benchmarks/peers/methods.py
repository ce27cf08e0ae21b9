"""Every method that is compared: ways to say how similar two networks are, one a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .learning import PEERS, Learned, Objective, Pairs, learned
from .untrained import Compared, cosine, of_classifiers, of_peace, of_registry, of_responses
from .zoo import Zoo

PEACE = "PEACE"
UNLEARNED = (
    "Flattened weights",
    "Layer statistics",
    "Layer statistics, scale-canonical",
    "Shapes alone",
    "Chance",
)
"""Baselines of the product that learn nothing from a training split but its scale."""


@dataclass(frozen=True)
class Training:
    """How peers are trained: with how many ``seeds``, for ``budget`` seconds of the processor and on for at most
    ``most``; where their outputs are kept, and which are left out."""

    cache: Path
    seeds: int = 3
    budget: float = 120.0
    most: float = 600.0
    peers: tuple[str, ...] = tuple(PEERS)

    def learned(self, zoo: Zoo, name: str, objective: Objective) -> list[Learned]:
        """A peer's outputs of each seed."""
        return [
            learned(zoo, name, objective, seed=seed, budget=self.budget, most=self.most, cache=self.cache)
            for seed in range(self.seeds)
        ]


def unlearned(zoo: Zoo) -> dict[str, list[Compared]]:
    """Methods that learn nothing from the zoo: they may be asked for any of its networks."""
    registered = of_registry(zoo, np.arange(0))
    chosen = {name: registered[name] for name in UNLEARNED}
    return {name: [one] for name, one in (of_peace(zoo) | of_responses(zoo) | chosen).items()}


def every(zoo: Zoo, training: Training) -> dict[str, list[Compared]]:
    """All methods; those that learn do so from the networks of training runs."""
    train = np.flatnonzero(zoo.splits == "train")
    found = of_peace(zoo) | of_responses(zoo) | of_registry(zoo, train) | of_classifiers(zoo, train)
    methods = {name: [one] for name, one in found.items()}
    for name in training.peers:
        trained = training.learned(zoo, name, Pairs(zoo))
        methods[f"{name}, equal time"] = [partial(cosine, one.equal) for one in trained]
        methods[f"{name}, converged"] = [partial(cosine, one.converged) for one in trained]
    return methods
