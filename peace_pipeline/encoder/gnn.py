"""Message passing over the neurons of a network, without materialised edges.

A message through a layer is Σ_j e_k(w_ij) · (A_k h_j): K learned scalar features of the weight times K linear
maps of the source, so that a round is K batched matrix products in each direction.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from peace_pipeline.encoder import features
from peace_pipeline.encoder.probes import Probes
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import Wiring

States = dict[str, torch.Tensor]


def gathered(wiring: Wiring, states: States, group: str) -> torch.Tensor:
    """States (batch, neurons, width) of a group, which may be joined of others."""
    parts = wiring.groups[group].parts
    return torch.cat([states[part] for part in parts], 1) if parts else states[group]


def add(wiring: Wiring, states: States, group: str, change: torch.Tensor) -> None:
    """Add to the states of a group, which may be joined of others."""
    parts = wiring.groups[group].parts
    sizes = [states[part].shape[1] for part in parts]
    pieces = zip(parts, change.split(sizes, 1), strict=True) if parts else [(group, change)]
    for name, piece in pieces:
        states[name] = states[name] + piece


def with_neurons(wiring: Wiring) -> list[str]:
    """The groups that have neurons of their own: those that a layer runs over, or parts of them."""
    touched = dict.fromkeys(axis.group for wired in wiring.layers for axis in wired.axes)
    parts = [part for name in touched for part in wiring.groups[name].parts]
    return [name for name in dict.fromkeys([*touched, *parts]) if not wiring.groups[name].parts]


def mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two linear layers with GELU between them."""
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))


class EdgeFeatures(nn.Module):
    """K scalar features (batch, K, out, in) of the weights between two neurons.

    A weighted sum over kernel positions of the expanded weights; the sum's coefficients are a function of the
    position, so one set of parameters serves every kernel size.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.coefficients = mlp(features.POSITION_FEATURES, 32, features.EDGE_EXPANSION * heads)
        self.heads = heads

    def forward(self, values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        table = self.coefficients(positions).view(len(positions), -1, self.heads) / math.sqrt(len(positions))
        expanded = features.expand(values.movedim(-1, 1).flatten(2))
        return (table.permute(2, 1, 0).flatten(1) @ expanded).unflatten(-1, values.shape[1:3])


class Round(nn.Module):
    """One round of messages in both directions and a residual update of every neuron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.forward_map, self.backward_map = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(3 * width)
        self.update = mlp(3 * width, 2 * width, width)
        self.heads = heads

    def messages(
        self, edges: torch.Tensor, source: torch.Tensor, linear: nn.Linear, *, diagonal: bool
    ) -> torch.Tensor:
        """Messages (batch, out, width) through ``edges`` (batch, K, out, in) from ``source`` (batch, in, width).

        Through a diagonal layer, whose edges are (batch, K, out, 1), each neuron hears from its own.
        """
        heads = linear(source).unflatten(-1, (self.heads, -1)).movedim(-2, 1)
        if diagonal:
            return (edges * heads).movedim(1, -2).flatten(-2)
        return ((edges @ heads) / math.sqrt(edges.shape[-1])).movedim(1, -2).flatten(-2)

    def forward(
        self,
        stack: Stack,
        edges: list[torch.Tensor],
        places: torch.Tensor,
        states: States,
        unit: torch.Tensor,
    ) -> tuple[States, list[torch.Tensor]]:
        """New states (group → (batch, units, width)) and the message of each layer to its out group."""
        arriving = {name: torch.zeros_like(state) for name, state in states.items()}
        returning = {name: torch.zeros_like(state) for name, state in states.items()}
        sent = []
        for position, wired in enumerate(stack.wiring.layers):
            diagonal, edge, wiring = wired.is_diagonal, edges[position], stack.wiring
            source = (
                gathered(wiring, states, wired.into.group) if wired.into else unit.expand(len(stack), 1, -1)
            )
            message = self.messages(edge, source + places[position], self.forward_map, diagonal=diagonal)
            add(wiring, arriving, wired.out.group, message)
            sent.append(message)
            if wired.into:
                back = gathered(wiring, states, wired.out.group) + places[position]
                edge = edge if diagonal else edge.mT
                returned = self.messages(edge, back, self.backward_map, diagonal=diagonal)
                add(wiring, returning, wired.into.group, returned)
        names = list(states)
        joined = [torch.cat([every[name] for name in names], 1) for every in (states, arriving, returning)]
        change = self.update(self.norm(torch.cat(joined, -1))).split(
            [state.shape[1] for state in states.values()], 1
        )
        return {name: states[name] + part for name, part in zip(names, change, strict=True)}, sent


class NeuronGNN(nn.Module):
    """Neuron states after some rounds of messages, shared by all layers that touch a group."""

    def __init__(self, width: int, heads: int, rounds: int, probes: int) -> None:
        super().__init__()
        self.edge_features = EdgeFeatures(heads)
        self.probes = Probes(probes) if probes else None
        self.probed = mlp(probes, width, width) if probes else None
        self.node = mlp(features.NODE_FEATURES, width, width)
        self.bias = mlp(2, width, width)
        self.place = nn.Linear(features.LAYER_FEATURES, width)
        self.unit = nn.Parameter(torch.zeros(width))
        self.rounds = nn.ModuleList(Round(width, heads) for _ in range(rounds))

    def forward(self, stack: Stack, values: list[torch.Tensor]) -> tuple[States, list[torch.Tensor]]:
        """States of a stack's neurons and the last message of each layer; ``values`` are the edge values."""
        dtype = self.unit.dtype
        layers = stack.wiring.layers
        edges = [
            self.edge_features(value, features.position_features(wired, dtype).to(self.unit.device))
            for value, wired in zip(values, layers, strict=True)
        ]
        places = self.place(
            torch.stack([features.layer_features(stack, i, dtype) for i in range(len(layers))]).to(
                self.unit.device
            )
        )
        states = self._initial(stack)
        sent: list[torch.Tensor] = []
        for step in self.rounds:
            states, sent = step(stack, edges, places, states, self.unit)
        return states, sent

    def _initial(self, stack: Stack) -> States:
        states = {}
        for name in with_neurons(stack.wiring):
            node = self.node(features.node_features(stack, name, self.unit.dtype).to(self.unit.device))
            states[name] = node.expand(len(stack), -1, -1)
        for wired in stack.wiring.layers:
            if "bias" in wired.layer.tensors:
                bias = features.compressed(stack.tensors[wired.layer.tensors["bias"]])
                add(stack.wiring, states, wired.out.group, self.bias(torch.stack([bias, bias.abs()], -1)))
        if self.probes is not None and self.probed is not None:
            for name, activations in self.probes(stack).items():
                add(stack.wiring, states, name, self.probed(activations))
        return states
