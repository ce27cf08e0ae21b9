"""How an epoch is judged: same-task retrieval among the validation runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from peace_pipeline.encoder.model import RESPONSES, WEIGHTS, Encoder
from peace_pipeline.encoder.pair_rule import Attributes
from peace_pipeline.encoder.prepared import Prepared
from peace_pipeline.zoo.listing import Listing

BOTH = "both"
SENSES = {"weights": WEIGHTS, "responses": RESPONSES}
_AT_ONCE = 256


class Validation:
    """Each network's neighbours of other runs; those of the same task with true labels are relevant.

    Networks are embedded together that have about ``values`` weights and answers at most, or one that has more.
    """

    def __init__(self, networks: Prepared, members: Mapping[str, Listing], values: int = 4_000_000) -> None:
        self.networks = networks
        own = Attributes.of([members[key] for key in networks.keys])
        self._order = np.argsort(networks.signatures, kind="stable")
        sizes = np.array(networks.sizes, int) + np.array(networks.answer_sizes, int)
        ends = np.cumsum(np.maximum(sizes[self._order], values // _AT_ONCE))
        self.chunks = np.split(self._order, np.flatnonzero(np.diff((ends - 1) // values)) + 1)
        own = own.at(self._order)
        a, b = own.at((slice(None), None)), own.at(None)
        true_labels = ~(a.shuffled | b.shuffled)
        self.others = torch.from_numpy(a.run != b.run)
        self.relevant = torch.from_numpy((a.task == b.task) & (a.task >= 0) & true_labels)

    @property
    def chooses(self) -> bool:
        """Whether an epoch can be judged: some network has another one to be found."""
        return bool((self.relevant & self.others).any())

    def mean_average_precisions(self, encoder: Encoder, device: torch.device) -> dict[str, float]:
        """MAP over validation networks with a task and true labels, by both senses and by each alone: of ``responses``
        among the networks that were run, and nothing where there is none of a kind."""
        if not len(self.networks):
            return {}
        found: dict[str, list[torch.Tensor]] = {name: [] for name in (BOTH, *SENSES)}
        order, ran = [], []
        encoder.eval()
        with torch.no_grad():
            for numbers in self.chunks:
                held = self.networks.select(numbers.tolist())
                answers = [each.answers and each.answers.to(device, torch.float32) for each in held]
                senses = encoder.perceived([each.stack.to(device) for each in held], answers)
                found[BOTH].append(encoder.joined(senses).networks)
                for name, sense in SENSES.items():
                    found[name].append(encoder.joined(senses, senses.only(sense)).networks)
                order += [number for each in held for number in each.numbers]
                ran.append(senses.answering.any(1))
        encoder.train()
        place = torch.from_numpy(np.argsort(self._order)[order])
        heard = torch.cat(ran).cpu()
        rows = {name: torch.ones_like(heard) for name in found} | {"responses": heard}
        scores = {
            name: self._scores(torch.cat(vectors).cpu()[rows[name]], place[rows[name]])
            for name, vectors in found.items()
        }
        return {name: float(score.mean()) for name, score in scores.items() if len(score)}

    def _scores(self, vectors: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        relevant, others = (mask[place][:, place] for mask in (self.relevant, self.others))
        return average_precisions(vectors @ vectors.T, relevant, others)


def average_precisions(
    similarity: torch.Tensor, relevant: torch.Tensor, others: torch.Tensor
) -> torch.Tensor:
    """Average precision of each query (rows) that has a relevant network among its ``others``: (queries,).

    ``similarity``, ``relevant`` and ``others`` are (queries, networks).
    """
    order = similarity.masked_fill(~others, -torch.inf).argsort(dim=1, descending=True, stable=True)
    hits = (relevant & others).gather(1, order)
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    found = hits.sum(1)
    return ((precision * hits).sum(1) / found)[found > 0]
