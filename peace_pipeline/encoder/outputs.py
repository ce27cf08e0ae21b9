"""One token an output of a network, made of what the network answers to the probes there.

Outputs are told apart by their place, the number of their label: which input is answered where is what a network does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.standard import PROBES, READ_AS
from peace_pipeline.symmetry.network import Stack

PLACES = 64
"""Places that have an embedding. Outputs at later ones are described, and are in the sketch, but no token."""
ANSWER_FEATURES = 2 * PROBES


def answering(
    stacks: Sequence[Stack], answers: Sequence[Answers | None]
) -> Iterator[tuple[torch.Tensor, Answers]]:
    """Numbers of the networks (over all stacks) that answered, with their answers, a number of outputs at a time."""
    found: dict[tuple[str, int], list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)
    start = 0
    for stack, each in zip(stacks, answers, strict=True):
        if each is not None:
            rows = each.outputs.isfinite().all(2).all(1).nonzero().flatten()
            found[each.kind, each.outputs.shape[2]].append((start + rows, each.outputs[rows]))
        start += len(stack)
    for (kind, _), parts in found.items():
        numbers, outputs = (torch.cat(part) for part in zip(*parts, strict=True))
        if len(numbers):
            yield numbers, Answers(kind, outputs)


def answer_features(outputs: torch.Tensor) -> torch.Tensor:
    """Features (networks, outputs, ANSWER_FEATURES) of logits (networks, probes, outputs).

    Probabilities, less chance and in units of its root, beside the logits, centred over outputs and over probes and
    of unit deviation in each network. A single output is taken as one of two, of which the other has logits of 0.
    """
    if outputs.shape[2] == 1:
        return answer_features(torch.cat([outputs, torch.zeros_like(outputs)], 2))[:, :1]
    chance = 1 / outputs.shape[2]
    likely = (outputs.softmax(2) - chance) / chance**0.5
    centred = outputs - outputs.mean(2, keepdim=True)
    centred = centred - centred.mean(1, keepdim=True)
    scale = centred.square().mean((1, 2), keepdim=True).sqrt()
    return torch.cat([likely, centred / (scale + 1e-6)], 1).mT


class OutputTokens(nn.Module):
    """Tokens of what networks answer; each kind of input is read by a map of its own, sentences by that of ids."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.ModuleDict(
            {kind: nn.Linear(ANSWER_FEATURES, width) for kind in dict.fromkeys(READ_AS.values())}
        )
        self.describe = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width))
        self.place = nn.Embedding(PLACES, width)
        self.token = nn.Sequential(nn.GELU(), nn.Linear(width, width))

    def forward(self, answers: Answers) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens, and descriptors that don't know their place: (networks, outputs, width) each."""
        read = self.read[READ_AS[answers.kind]]
        described = self.describe(read(answer_features(answers.outputs)))
        place = torch.arange(described.shape[1], device=described.device) % PLACES
        return self.token(described + self.place(place)), described
