"""The encoder: stacks of networks → layer embeddings and network embeddings of unit norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from peace_pipeline.encoder import features
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.gnn import NeuronGNN, gathered, mlp
from peace_pipeline.encoder.ragged import spread, to_dense_batch
from peace_pipeline.symmetry.network import Stack


@dataclass(frozen=True)
class Embedded:
    """Embeddings in the order of the stacks and of the networks in them.

    ``networks`` is (networks, dimension), ``layers`` (all layers, token width), both of unit norm;
    ``network_of`` (all layers,) says whose layer each is.
    """

    networks: torch.Tensor
    layers: torch.Tensor
    network_of: torch.Tensor


class Encoder(nn.Module):
    """A GNN over each network's neurons, invariant aggregation to layers, a Transformer over the layers."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.gnn = NeuronGNN(config.width, config.heads, config.rounds, config.probes)
        self.readout_norm = nn.LayerNorm(2 * config.width)
        self.readout = mlp(2 * config.width, 2 * config.width, config.width)
        described = 3 * config.width + features.STATISTICS + features.LAYER_FEATURES
        self.token_norm = nn.BatchNorm1d(3 * config.width)
        self.statistics_norm = nn.BatchNorm1d(features.STATISTICS)
        self.token = mlp(described, config.token_width, config.token_width)
        self.kind = nn.Embedding(len(features.KINDS), config.token_width)
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
            nn.BatchNorm1d(config.token_width), nn.Linear(config.token_width, config.dimension)
        )

    def forward(self, stacks: Sequence[Stack]) -> Embedded:
        """Embed every network of ``stacks``."""
        tokens, network_of = self._tokens(stacks)
        dense, present = to_dense_batch(tokens, network_of)
        if self.config.transformer:
            summary = self.summary.expand(len(dense), 1, -1)
            attended = self.transformer(
                torch.cat([summary, dense], 1),
                src_key_padding_mask=~nn.functional.pad(present, (1, 0), value=True),
            )
            pooled = attended[:, 0]
        else:
            pooled = dense.sum(1) / present.sum(1, keepdim=True)
        networks = nn.functional.normalize(self.head(pooled), dim=-1)
        return Embedded(networks, nn.functional.normalize(tokens, dim=-1), network_of)

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


def _kinds(stack: Stack) -> torch.Tensor:
    return torch.tensor([features.kind_index(wired) for wired in stack.wiring.layers])
