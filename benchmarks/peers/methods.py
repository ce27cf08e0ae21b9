"""Every method that is compared: ways to say how similar two networks are, one a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .learning import AUTOENCODER, LEARNED_PROBES, PEERS, Learned, Objective, Pairs, learned
from .scoring import figure
from .tables import Cells, Table
from .untrained import Compared, cosine, of_classifiers, of_peace, of_registry, of_responses
from .zoo import SENSES, Zoo

PEACE, WEIGHTS = "PEACE", SENSES["weights"]
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
    ``most``; where their outputs are kept, which there are, and another zoo to train on what is asked for unseen tasks.
    """

    cache: Path
    seeds: int = 3
    budget: float = 60.0
    most: float = 180.0
    peers: tuple[str, ...] = tuple(PEERS)
    elsewhere: Zoo | None = None

    def learned(self, zoo: Zoo, name: str, objective: Objective, target: Zoo | None = None) -> list[Learned]:
        """A peer's outputs of each seed, of the networks of the zoo that it was trained on or of another's."""
        limits = {"budget": self.budget, "most": self.most, "cache": self.cache, "target": target}
        return [learned(zoo, name, objective, seed=seed, **limits) for seed in range(self.seeds)]


def reads_weights_alone(method: str) -> bool:
    """Whether a method knows nothing but weights (of training networks their tasks, too)."""
    others = ("raw responses", LEARNED_PROBES, "Hyperparameters")
    return method == WEIGHTS or not method.startswith((PEACE, *others))


def unlearned(zoo: Zoo, training: Training) -> dict[str, list[Compared]]:
    """Methods that learn nothing of the zoo's tasks: they may be asked for any of its networks."""
    registered = of_registry(zoo, np.arange(0))
    chosen = {name: registered[name] for name in UNLEARNED}
    methods = {name: [one] for name, one in (of_peace(zoo) | of_responses(zoo) | chosen).items()}
    if AUTOENCODER in training.peers and (zoo.splits == "train").any():
        codes = training.learned(zoo, AUTOENCODER, Pairs(zoo))
        methods[AUTOENCODER] = [partial(cosine, one.converged) for one in codes]
    if training.elsewhere and LEARNED_PROBES in training.peers:
        there = training.elsewhere
        heard = training.learned(there, LEARNED_PROBES, Pairs(there), zoo)
        methods[f"{LEARNED_PROBES}, trained elsewhere"] = [partial(cosine, one.converged) for one in heard]
    return methods


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


def costs(zoo: Zoo, training: Training, objective: Objective) -> Table:
    """What training the peers took, over seeds."""
    cells: Cells = {}
    for name in training.peers:
        trained = training.learned(zoo, name, objective)
        seconds, steps = (
            np.array([[getattr(one, field)] for one in trained]) for field in ("seconds", "steps")
        )
        cells[name] = {"seconds of the processor": figure(seconds), "steps": figure(steps)}
    return Table("Training of peers until nothing was gained", cells)
