"""The encoder: stacks of networks and what they answer → embeddings of layers, outputs and networks, of unit norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from peace_pipeline.encoder import features
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.gnn import NeuronGNN, gathered, mlp
from peace_pipeline.encoder.outputs import PLACES, OutputTokens, answering
from peace_pipeline.encoder.ragged import spread, to_dense_batch
from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.sketch import sketch
from peace_pipeline.responses.standard import SKETCH
from peace_pipeline.symmetry.network import Stack


@dataclass(frozen=True)
class Senses:
    """What an encoder perceives of networks, in the order of the stacks and of the networks in them.

    ``layers`` are the tokens of all layers (all layers, token width), network by network, and ``network_of`` says
    whose each is. ``outputs`` (networks, at most ``PLACES``, token width) are tokens of what networks answer at their
    first outputs, ``described`` (networks, most outputs, token width) the same of all without their places, and
    ``answering`` (networks, most outputs) says where there is one. ``sketches`` (networks, SKETCH) are zeros where
    nothing was answered.
    """

    layers: torch.Tensor
    network_of: torch.Tensor
    outputs: torch.Tensor
    described: torch.Tensor
    answering: torch.Tensor
    sketches: torch.Tensor

    def only(self, sense: int) -> torch.Tensor:
        """What is heard (networks, 2) where one sense alone counts."""
        heard = self.answering.new_zeros(len(self.answering), 2)
        heard[:, sense] = True
        return heard


@dataclass(frozen=True)
class Embedded:
    """Unit vectors (networks, …): ``networks`` joins the ``learned`` part and the sketch of what was answered."""

    networks: torch.Tensor
    learned: torch.Tensor


WEIGHTS, RESPONSES = 0, 1
"""The senses, as columns of what is heard."""


class Encoder(nn.Module):
    """A GNN over each network's neurons, invariant aggregation to layers, a Transformer over layers and outputs."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.gnn = NeuronGNN(config)
        self.readout_norm = nn.LayerNorm(2 * config.width)
        self.readout = mlp(2 * config.width, 2 * config.width, config.width)
        described = 3 * config.width + features.STATISTICS + features.LAYER_FEATURES
        self.token_norm = nn.BatchNorm1d(3 * config.width)
        self.statistics_norm = nn.BatchNorm1d(features.STATISTICS)
        self.token = mlp(described, config.token_width, config.token_width)
        self.kind = nn.Embedding(len(features.KINDS), config.token_width)
        self.output_tokens = OutputTokens(config.token_width)
        self.summary = nn.Parameter(torch.zeros(config.token_width))
        block = nn.TransformerEncoderLayer(
            config.token_width,
            config.attention_heads,
            2 * config.token_width,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(block, config.transformer_layers, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.BatchNorm1d(config.token_width), nn.Linear(config.token_width, config.learned)
        )

    def forward(
        self,
        stacks: Sequence[Stack],
        answers: Sequence[Answers | None] | None = None,
        heard: torch.Tensor | None = None,
    ) -> Embedded:
        """Embed every network of ``stacks``, of each of which ``answers`` may say what its networks answer.

        ``heard`` (networks, 2) says which senses of each network count: all that there are, where it is not given.
        """
        return self.joined(self.perceived(stacks, answers), heard)

    def perceived(self, stacks: Sequence[Stack], answers: Sequence[Answers | None] | None = None) -> Senses:
        """What there is of the networks in both senses."""
        layers, network_of = self._tokens(stacks)
        count = sum(map(len, stacks))
        found = list(answering(stacks, answers)) if answers else []
        most = max((each.outputs.shape[2] for _, each in found), default=0)
        outputs = layers.new_zeros(count, min(most, PLACES), self.config.token_width)
        described = layers.new_zeros(count, most, self.config.token_width)
        present = layers.new_zeros(count, most, dtype=torch.bool)
        sketches = layers.new_zeros(count, SKETCH)
        for rows, each in found:
            size = each.outputs.shape[2]
            # of half width in mixed precision
            tokens, told = (made.to(outputs) for made in self.output_tokens(each))
            outputs[rows, : min(size, PLACES)], described[rows, :size] = tokens[:, :PLACES], told
            present[rows, :size] = True
            sketches[rows] = sketch(each).to(sketches)
        return Senses(layers, network_of, outputs, described, present, sketches)

    def joined(self, senses: Senses, heard: torch.Tensor | None = None) -> Embedded:
        """One vector a network of the senses that are ``heard`` (networks, 2)."""
        dense, present = to_dense_batch(senses.layers, senses.network_of)
        answered, sketches = senses.answering[:, : senses.outputs.shape[1]], senses.sketches
        if heard is None:
            heard = senses.answering.new_ones(len(senses.answering), 2)
        heard = heard & heard.new_tensor([self.config.weights, self.config.responses])
        present = present & heard[:, WEIGHTS, None]
        answered = answered & heard[:, RESPONSES, None]
        sketches = sketches * heard[:, RESPONSES, None]
        dense, present = torch.cat([dense, senses.outputs], 1), torch.cat([present, answered], 1)
        if self.config.transformer:
            summary = self.summary.expand(len(dense), 1, -1)
            attended = self.transformer(
                torch.cat([summary, dense], 1),
                src_key_padding_mask=~nn.functional.pad(present, (1, 0), value=True),
            )
            pooled = attended[:, 0]
        else:
            pooled = (dense * present[..., None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        learned = nn.functional.normalize(self.head(pooled), dim=-1)
        return Embedded(_beside(learned, sketches, self.config.sketch_share), learned)

    def _tokens(self, stacks: Sequence[Stack]) -> tuple[torch.Tensor, torch.Tensor]:
        """Layer tokens (all layers, token width), network by network, and whose layer each is."""
        nodes, layer_of, known, kinds, network_of = [], [], [], [], []
        layers = networks = 0
        for stack in stacks:
            count, depth = len(stack), len(stack.wiring.layers)
            values = [features.edge_values(stack, position) for position in range(depth)]
            states, sent = self.gnn(stack, values)
            base = layers + depth * torch.arange(count, device=sent[0].device)
            for position, (wired, message) in enumerate(zip(stack.wiring.layers, sent, strict=True)):
                joined = torch.cat([gathered(stack.wiring, states, wired.out.group), message], -1)
                nodes.append(joined.flatten(0, 1))
                layer_of.append((base + position).repeat_interleave(message.shape[1]))
            known.append(self._known(stack, values).flatten(0, 1))
            kinds.append(_kinds(stack).repeat(count))
            network_of.append((networks + torch.arange(count)).repeat_interleave(depth))
            layers, networks = layers + count * depth, networks + count
        node = self.readout(self.readout_norm(torch.cat(nodes)))
        pooled = spread(node, torch.cat(layer_of), layers)
        statistics, fixed = torch.cat(known).split([features.STATISTICS, features.LAYER_FEATURES], -1)
        described = torch.cat([self.token_norm(pooled), self.statistics_norm(statistics), fixed], -1)
        kind = self.kind(torch.cat(kinds).to(node.device))
        return self.token(described) + kind, torch.cat(network_of).to(node.device)

    def _known(self, stack: Stack, values: list[torch.Tensor]) -> torch.Tensor:
        """Statistics and static features (batch, layers, …) of a stack's layers."""
        rows = []
        alignment = features.Alignment(stack)
        for position, wired in enumerate(stack.wiring.layers):
            name = wired.layer.tensors.get("bias")
            bias = features.compressed(stack.tensors[name]) if name else None
            fixed = features.layer_features(stack, position, values[position].dtype).to(
                values[position].device
            )
            told = [
                features.statistics(values[position], bias),
                alignment.features(position),
                fixed.expand(len(stack), -1),
            ]
            rows.append(torch.cat(told, 1))
        return torch.stack(rows, 1)


def _beside(learned: torch.Tensor, sketches: torch.Tensor, share: float) -> torch.Tensor:
    """Unit vectors in which a sketch counts for ``share`` of the squared norm; without one all is learned."""
    weight = share**0.5 * sketches
    rest = (1 - weight.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([rest * learned, weight], 1)


def _kinds(stack: Stack) -> torch.Tensor:
    return torch.tensor([features.kind_index(wired) for wired in stack.wiring.layers])
