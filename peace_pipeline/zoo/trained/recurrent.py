"""LSTM and GRU over the rows of an image or signal, or over embedded tokens, with torch's parameter names.

``models`` networks form one module; inside, the networks come first. One batched product projects the inputs of
all steps and networks, one more a step advances all networks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .layers import Embedding, Linear


class _Recurrence(nn.Module):
    """Layers of gated units with the parameters of torch.nn.LSTM or torch.nn.GRU."""

    gates: int

    def __init__(self, inputs: int, size: int, layers: int, models: int) -> None:
        super().__init__()
        self.layers, self.models = layers, models
        for layer in range(layers):
            shapes = {"weight_ih": (inputs,), "weight_hh": (size,), "bias_ih": (), "bias_hh": ()}
            for name, columns in shapes.items():
                zeros = torch.zeros(models * self.gates * size, *columns)
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(zeros))
            inputs = size

    def forward(self, x: Tensor) -> Tensor:
        """(models, batch, steps, inputs) → the last layer's state after the last step (models, batch, size)."""
        for layer in range(self.layers):
            weights = (self.get_parameter(f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh"))
            biases = (self.get_parameter(f"{kind}_l{layer}") for kind in ("bias_ih", "bias_hh"))
            w_in, w_state = (w.view(self.models, -1, w.shape[1]).transpose(1, 2) for w in weights)
            b_in, b_state = (b.view(self.models, 1, -1) for b in biases)
            projected = torch.baddbmm(b_in, x.flatten(1, 2), w_in).unflatten(1, x.shape[1:3])
            x = torch.stack(self.run(projected.unbind(2), w_state, b_state), 2)
        return x[:, :, -1]

    def run(self, projected: tuple[Tensor, ...], weight: Tensor, bias: Tensor) -> list[Tensor]:
        """The states after each step, from the projected inputs of each step (models, batch, gates · size)."""
        raise NotImplementedError


class LSTM(_Recurrence):
    """Gates in torch's order: input, forget, cell, output."""

    gates = 4

    def run(self, projected: tuple[Tensor, ...], weight: Tensor, bias: Tensor) -> list[Tensor]:
        state = cell = torch.zeros_like(projected[0].chunk(4, 2)[0])
        states = []
        for step in projected:
            i, f, g, o = torch.baddbmm(step + bias, state, weight).chunk(4, 2)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
            states.append(state)
        return states


class GRU(_Recurrence):
    """Gates in torch's order: reset, update, new."""

    gates = 3

    def run(self, projected: tuple[Tensor, ...], weight: Tensor, bias: Tensor) -> list[Tensor]:
        state = torch.zeros_like(projected[0].chunk(3, 2)[0])
        states = []
        for step in projected:
            r, z, n = step.chunk(3, 2)
            r_state, z_state, n_state = torch.baddbmm(bias, state, weight).chunk(3, 2)
            new = torch.tanh(n + (r + r_state).sigmoid() * n_state)
            state = torch.lerp(new, state, (z + z_state).sigmoid())
            states.append(state)
        return states


_KINDS = {"lstm": LSTM, "gru": GRU}


class Recurrent(nn.Module):
    """An LSTM or GRU, read from its last state by a linear classifier.

    (batch, models · steps, features), or token ids (batch, models · steps) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.kind, self.models = config["model_type"], models
        inputs, size = config["input_size"], config["hidden_size"]
        self.embedding = Embedding(config["vocab_size"], inputs, models) if "vocab_size" in config else None
        self.add_module(self.kind, _KINDS[self.kind](inputs, size, config["num_layers"], models))
        self.fc = Linear(size, config["num_labels"], models)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.models, -1)).transpose(0, 1)
        if self.embedding is not None:
            x = self.embedding(x.flatten(1)).unflatten(1, x.shape[1:])
        state = self.get_submodule(self.kind)(x)
        return self.fc.each(state).transpose(0, 1).flatten(1)
