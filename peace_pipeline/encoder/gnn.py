"""Message passing over the neurons of a network, without materialised edges.

A message through a layer is Σ_j e_k(w_ij) · (A_k h_j): K learned scalar features of the weight times K linear
maps of the source, so that a round is K batched matrix products in each direction. It is a convolution conditioned on
edges (torch-geometric's NNConv), written out for layers in which every neuron meets every other.

Two variants put something else in its place. Deep sets (Zaheer et al. 2017) hear the weights of a neuron as a set,
Σ_j e_k(w_ij) · a_k, and nothing of the neurons at their other ends. Graph attention (torch-geometric's GATConv with
edge features: Veličković et al. 2018) hears Σ_j α_kij · (A_k h_j), where weights count in the attention α alone.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from peace_pipeline.encoder import features
from peace_pipeline.encoder.config import ATTENTION, SETS, WEIGHTED, EncoderConfig
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


class Weighted(nn.Linear):
    """Messages in one direction: Σ_j e_k(w_ij) · (A_k h_j), over the root of how many neurons send."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, width)
        self.heads = heads

    def forward(  # type: ignore[override]
        self, edges: torch.Tensor, source: torch.Tensor, target: torch.Tensor, *, diagonal: bool
    ) -> torch.Tensor:
        """Messages (batch, out, width) through ``edges`` (batch, K, out, in) from ``source`` (batch, in, width) to
        ``target`` (batch, out, width).

        Through a diagonal layer, whose edges are (batch, K, out, 1), each neuron hears from its own.
        """
        heads = self.mapped(source)
        if diagonal:
            return _joined(edges * heads)
        return _joined((edges @ heads) / math.sqrt(edges.shape[-1]))

    def mapped(self, states: torch.Tensor) -> torch.Tensor:
        """A_k h (batch, K, neurons, width / K)."""
        return super().forward(states).unflatten(-1, (self.heads, -1)).movedim(-2, 1)


class Sets(Weighted):
    """Messages that say nothing of the neurons that send: Σ_j e_k(w_ij) · a_k."""

    def forward(  # type: ignore[override]
        self, edges: torch.Tensor, source: torch.Tensor, target: torch.Tensor, *, diagonal: bool
    ) -> torch.Tensor:
        """As :meth:`Weighted.forward`."""
        return super().forward(edges, torch.zeros_like(source), target, diagonal=diagonal)


class Attention(Weighted):
    """Graph attention: Σ_j α_kij · (A_k h_j), with α the softmax over j of
    LeakyReLU(t_k · (A_k h_i) + s_k · (A_k h_j) + e_k(w_ij))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.sends, self.hears = (nn.Parameter(torch.randn(heads, 1, width // heads) / 8) for _ in range(2))

    def forward(  # type: ignore[override]
        self, edges: torch.Tensor, source: torch.Tensor, target: torch.Tensor, *, diagonal: bool
    ) -> torch.Tensor:
        """As :meth:`Weighted.forward`."""
        heads = self.mapped(source)
        if diagonal:
            return _joined(heads)
        sent, heard = (heads * self.sends).sum(-1), (self.mapped(target) * self.hears).sum(-1)
        scores = nn.functional.leaky_relu(edges + heard[..., None] + sent[..., None, :], 0.2)
        return _joined(scores.softmax(-1) @ heads)


_MESSAGES = {WEIGHTED: Weighted, SETS: Sets, ATTENTION: Attention}


def _joined(heads: torch.Tensor) -> torch.Tensor:
    """Heads (batch, K, neurons, width / K) side by side."""
    return heads.movedim(1, -2).flatten(-2)


class Round(nn.Module):
    """One round of messages in both directions and a residual update of every neuron."""

    def __init__(self, width: int, heads: int, messages: str) -> None:
        super().__init__()
        self.forward_map, self.backward_map = (_MESSAGES[messages](width, heads) for _ in range(2))
        self.norm = nn.LayerNorm(3 * width)
        self.update = mlp(3 * width, 2 * width, width)

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
            source, target = (
                each + places[position] for each in (source, gathered(wiring, states, wired.out.group))
            )
            message = self.forward_map(edge, source, target, diagonal=diagonal)
            add(wiring, arriving, wired.out.group, message)
            sent.append(message)
            if wired.into:
                returned = self.backward_map(edge if diagonal else edge.mT, target, source, diagonal=diagonal)
                add(wiring, returning, wired.into.group, returned)
        names = list(states)
        joined = [torch.cat([every[name] for name in names], 1) for every in (states, arriving, returning)]
        change = self.update(self.norm(torch.cat(joined, -1))).split(
            [state.shape[1] for state in states.values()], 1
        )
        return {name: states[name] + part for name, part in zip(names, change, strict=True)}, sent


class NeuronGNN(nn.Module):
    """Neuron states after some rounds of messages, shared by all layers that touch a group."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, heads, probes = config.width, config.heads, config.probes
        self.positions = config.positions
        self.edge_features = EdgeFeatures(heads)
        self.probes = Probes(probes) if probes else None
        self.probed = mlp(probes, width, width) if probes else None
        self.node = mlp(features.NODE_FEATURES, width, width)
        self.bias = mlp(2, width, width)
        self.place = nn.Linear(features.LAYER_FEATURES, width)
        self.unit = nn.Parameter(torch.zeros(width))
        self.rounds = nn.ModuleList(Round(width, heads, config.messages) for _ in range(config.rounds))

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
            known = features.node_features(stack, name, self.unit.dtype, placed=self.positions)
            states[name] = self.node(known.to(self.unit.device)).expand(len(stack), -1, -1)
        for wired in stack.wiring.layers:
            if "bias" in wired.layer.tensors:
                bias = features.compressed(stack.tensors[wired.layer.tensors["bias"]])
                add(stack.wiring, states, wired.out.group, self.bias(torch.stack([bias, bias.abs()], -1)))
        if self.probes is not None and self.probed is not None:
            for name, activations in self.probes(stack).items():
                add(stack.wiring, states, name, self.probed(activations))
        return states
