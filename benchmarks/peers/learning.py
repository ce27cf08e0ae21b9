"""Training of peers: the same time for each, and then on until nothing is gained; the best by validation is kept."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from peace_pipeline.encoder.losses import every_pair, pair_loss, supcon
from peace_pipeline.encoder.pair_rule import reasons, signs

from .scoring import average_precision, ordered, tau
from .trained import NFN, Autoencoder, Flattened, LearnedProbes, Peer
from .untrained import cosine
from .zoo import Places, Zoo

WIDTH, LEARNING_RATE = 128, 1e-3
FAR_OFF, TEMPERATURE = 0.3, 0.1
"""As the pairs and the loss that PEACE's encoder is trained with by default."""
FEWEST = 4
"""Networks of one architecture and task, below which no τ is taken."""

AUTOENCODER = "flattened weights, autoencoder"
LEARNED_PROBES = "learned probes"
PEERS: dict[str, Callable[..., Peer]] = {
    LEARNED_PROBES: LearnedProbes,
    "nfn-NP": partial(NFN, mode="NP"),
    "nfn-HNP": partial(NFN, mode="HNP"),
    "flattened weights, MLP": Flattened,
    AUTOENCODER: Autoencoder,
}


class Objective(ABC):
    """What a peer learns, from batches of so many ``rows`` of so many ``groups``."""

    width: int
    groups, rows = 8, 16

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo

    def known(self, places: Places) -> Places:
        """Those that there is something to learn of."""
        return places

    @abstractmethod
    def loss(self, outputs: Tensor, places: Places) -> Tensor:
        """Of a batch of networks."""

    @abstractmethod
    def score(self, outputs: NDArray[np.float32], places: Places) -> float:
        """How good outputs (all networks, width) are on the networks at ``places``."""


class Pairs(Objective):
    """The pairs that PEACE's own encoder learns from, in the supervised NT-Xent."""

    width = WIDTH

    def loss(self, outputs: Tensor, places: Places) -> Tensor:
        """SupCon over the batch's pairs."""
        own = self.zoo.attributes.at(places)
        related = torch.from_numpy(signs(reasons(own.at((slice(None), None)), own.at(None), FAR_OFF)))
        related.fill_diagonal_(0)
        vectors = F.normalize(outputs, dim=1)
        return pair_loss(supcon(TEMPERATURE), every_pair(), vectors, related > 0, related < 0)

    def score(self, outputs: NDArray[np.float32], places: Places) -> float:
        """Same-task MAP among final networks of true labels."""
        chosen = places[self.zoo.final[places] & self.zoo.real[places]]
        relevant, kept = self.zoo.relevance(chosen, chosen)
        found = average_precision(ordered(cosine(outputs, chosen, chosen)), relevant, kept)
        return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0


class Accuracy(Objective):
    """The accuracy that a network's card reports, by the cross-entropy of a sigmoid, as nfn's recipe has it: with
    batches of 8 for each of its networks."""

    width = 1
    rows = 8

    def known(self, places: Places) -> Places:
        """Those whose accuracy is known."""
        return places[np.isfinite(self.zoo.attributes.accuracy[places])]

    def loss(self, outputs: Tensor, places: Places) -> Tensor:
        """Binary cross-entropy."""
        truth = torch.from_numpy(self.zoo.attributes.accuracy[places]).float()
        return F.binary_cross_entropy_with_logits(outputs[:, 0], truth)

    def score(self, outputs: NDArray[np.float32], places: Places) -> float:
        """Mean τ_b over each architecture and task."""
        known = places[np.isfinite(outputs[places, 0])]
        found = [
            tau(self.zoo.attributes.accuracy[cell], outputs[cell, 0])
            for cell in self.zoo.cells(known).values()
            if len(cell) >= FEWEST
        ]
        return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0


@dataclass(frozen=True)
class Learned:
    """Outputs (networks, width) of the best state within the budget, and of the best until nothing was gained; NaN for
    networks that the peer can't read."""

    equal: NDArray[np.float32]
    converged: NDArray[np.float32]
    seconds: float
    steps: int


def learned(
    zoo: Zoo,
    name: str,
    objective: Objective,
    *,
    seed: int,
    budget: float,
    most: float,
    cache: Path,
    target: Zoo | None = None,
) -> Learned:
    """A peer's outputs, trained for ``budget`` seconds of the processor's time and on to convergence, at most ``most``;
    read from ``cache`` where it was trained before.

    ``target`` is the zoo that it is asked for after training, by default its own; learned probes alone read another.
    """
    read = [zoo] if target is None else [zoo, target]
    networks = "".join(one.model_id + one.revision for each in read for one in each.members)
    facts = hashlib.sha256(f"{networks} {seed} {budget} {most}".encode()).hexdigest()[:12]
    path = cache / f"{name} {type(objective).__name__} {facts}.npz"
    if path.exists():
        return Learned(**{key: value if value.ndim else value.item() for key, value in np.load(path).items()})
    make = partial(PEERS[name], width=objective.width)
    states, seconds, steps = _trained(make, zoo, objective, seed, budget, most)
    target = read[-1]
    reader = make(target, train=np.flatnonzero(target.splits == "train"))
    outputs = {}
    for which, state in states.items():
        reader.load_state_dict(state)
        outputs[which] = _outputs(reader, target, objective.width)
    found = Learned(**outputs, seconds=seconds, steps=steps)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, **vars(found))
    return found


State = dict[str, Tensor]


def _trained(
    make: Callable[..., Peer], zoo: Zoo, objective: Objective, seed: int, budget: float, most: float
) -> tuple[dict[str, State], float, int]:
    """The best states within the budget (``equal``) and until nothing was gained (``converged``), with the seconds and
    steps that it took; looks at the validation networks take no time of it."""
    torch.manual_seed(seed)
    train, validation = (
        objective.known(np.flatnonzero(zoo.splits == side)) for side in ("train", "validation")
    )
    peer = make(zoo, train=train)
    optimizer = torch.optim.Adam(peer.parameters(), LEARNING_RATE)
    start, steps = time.process_time(), 0
    every = next_look = budget / 8
    spent = best_at = lost = 0.0
    best, states = -np.inf, {}
    for batch in _batches(peer, train, objective, seed):
        peer.train()
        optimizer.zero_grad()
        _loss(peer, objective, batch).backward()
        optimizer.step()
        steps += 1
        spent = time.process_time() - start - lost
        if spent < next_look:
            continue
        looked = time.process_time()
        score = _score(peer, objective, validation)
        next_look = spent + every
        if score > best:
            state = {name: value.detach().clone() for name, value in peer.state_dict().items()}
            best, best_at, states["converged"] = score, spent, state
        if spent >= budget and "equal" not in states:
            states["equal"] = states["converged"]
        lost += time.process_time() - looked
        if "equal" in states and (spent >= most or spent - best_at > max(budget, spent / 3)):
            break
    return states, spent, steps


def _score(peer: Peer, objective: Objective, validation: Places) -> float:
    """On validation networks; of a peer that learns without pairs the negative error."""
    if isinstance(peer, Autoencoder):
        rows = {group: np.flatnonzero(np.isin(one, validation)) for group, one in enumerate(peer.groups)}
        with torch.inference_mode():
            errors = [
                float(peer.reconstruction(group, torch.from_numpy(some)))
                for group, some in rows.items()
                if len(some)
            ]
        return -float(np.mean(errors))
    outputs = _outputs(peer, objective.zoo, objective.width, validation)
    return objective.score(outputs, validation[np.isfinite(outputs[validation]).all(1)])


Batch = list[tuple[int, Tensor]]


def _batches(peer: Peer, train: Places, objective: Objective, seed: int) -> Iterator[Batch]:
    """Groups at random by their size, and training networks of each."""
    random = np.random.default_rng(seed)
    rows = [np.flatnonzero(np.isin(places, train)) for places in peer.groups]
    sizes = np.array([len(one) for one in rows], float)
    count = min(objective.groups, int((sizes > 0).sum()))
    while True:
        groups = random.choice(len(rows), count, replace=False, p=sizes / sizes.sum())
        yield [
            (
                int(group),
                torch.from_numpy(
                    random.choice(rows[group], min(objective.rows, len(rows[group])), replace=False)
                ),
            )
            for group in groups
        ]


def _loss(peer: Peer, objective: Objective, batch: Batch) -> Tensor:
    if isinstance(peer, Autoencoder):
        return torch.stack([peer.reconstruction(group, rows) for group, rows in batch]).mean()
    outputs = torch.cat([peer(group, rows) for group, rows in batch])
    places = np.concatenate([peer.groups[group][rows.numpy()] for group, rows in batch])
    return objective.loss(outputs, places)


@torch.inference_mode()
def _outputs(peer: Peer, zoo: Zoo, width: int, places: Places | None = None) -> NDArray[np.float32]:
    """Of all networks, or those at ``places`` (networks, width); NaN for others, and for those that it can't read."""
    peer.eval()
    outputs = np.full((len(zoo), width), np.nan, np.float32)
    for group, members in enumerate(peer.groups):
        wanted = np.arange(len(members)) if places is None else np.flatnonzero(np.isin(members, places))
        for rows in torch.from_numpy(wanted).split(64):
            outputs[members[rows.numpy()]] = peer(group, rows).numpy()
    return outputs
