"""How an epoch is judged: same-task retrieval among the validation runs."""

from __future__ import annotations

import torch

from peace_pipeline.encoder.embed import stack_chunks
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.pair_rule import Attributes
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.zoo.listing import Listing


class Validation:
    """Each network's neighbours of other runs; those of the same task with true labels are relevant."""

    def __init__(self, stacks: list[Stack], members: dict[str, Listing]) -> None:
        self.stacks = stacks
        own = Attributes.of([members[key] for stack in stacks for key in stack.keys])
        a, b = own.at((slice(None), None)), own.at(None)
        true_labels = ~(a.shuffled | b.shuffled)
        self.others = torch.from_numpy(a.run != b.run)
        self.relevant = torch.from_numpy((a.task == b.task) & (a.task >= 0) & true_labels)

    def mean_average_precision(self, encoder: Encoder, device: torch.device) -> float:
        """MAP over validation networks with a task and true labels; 0 where there are none."""
        if not self.stacks:
            return 0.0
        encoder.eval()
        with torch.no_grad():
            vectors = torch.cat(
                [
                    encoder([stack.to(device) for stack in chunk]).learned
                    for chunk in stack_chunks(self.stacks)
                ]
            )
        encoder.train()
        scores = average_precisions((vectors @ vectors.T).cpu(), self.relevant, self.others)
        return float(scores.mean()) if len(scores) else 0.0


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
