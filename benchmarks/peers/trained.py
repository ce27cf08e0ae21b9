"""Peers that are trained by gradients: each reads networks group by group (of one signature, or one config.json)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from nfn.common import WeightSpaceFeatures
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from peace_pipeline.evaluation.baselines.neural_functionals import is_chain, network, weight_space
from peace_pipeline.zoo.trained.populations import KINDS
from peace_pipeline.zoo.trained.populations import build as build_population

from .zoo import Places, Zoo

LARGEST = 1_000_000
"""Weights of a network, above which no peer is trained on it."""


class Peer(nn.Module, ABC):
    """A learned map from networks to vectors of ``width``; ``groups`` are the places that are read together."""

    groups: list[Places]

    @abstractmethod
    def forward(self, group: int, rows: Tensor) -> Tensor:
        """Of the networks at ``rows`` of a group: (rows, width)."""

    def reconstruction(self, group: int, rows: Tensor) -> Tensor:
        """The loss of a peer that learns without pairs."""
        raise NotImplementedError


class NFN(Peer):
    """Neural functional networks (Zhou et al. 2023, https://arxiv.org/abs/2302.14040), one for each chain of layers.

    ``NP`` standardises each weight on the training networks, ``HNP`` takes weights as they are. A folded norm is part
    of its layer.
    """

    def __init__(self, zoo: Zoo, width: int, train: Places, mode: str) -> None:
        super().__init__()
        self.groups, self.features, self.nets = [], [], nn.ModuleList()
        for places, stack in zoo.stacks(LARGEST):
            if is_chain(stack.wiring):
                features = weight_space(stack.wiring, stack.tensors)
                if mode == "NP":
                    features = _standardised(features, np.flatnonzero(np.isin(places, train)))
                self.groups.append(places)
                self.features.append(features)
                self.nets.append(network(features, width, mode))

    def forward(self, group: int, rows: Tensor) -> Tensor:
        """Vectors (rows, width)."""
        return self.nets[group](self.features[group].map(lambda tensor: tensor[rows]))


def _standardised(features: WeightSpaceFeatures, train: Places) -> WeightSpaceFeatures:
    def each(values: Tensor) -> Tensor:
        known = values[torch.from_numpy(train)] if len(train) > 1 else values
        std = known.std(0)
        return (values - known.mean(0)) / torch.where(std < 1e-5, 1, std)

    return features.map(each)


class Flattened(Peer):
    """An MLP on all weights in one vector, standardised: a first layer for each signature, the rest shared."""

    HIDDEN = 256

    def __init__(self, zoo: Zoo, width: int, train: Places) -> None:
        super().__init__()
        self.groups, self.values, self.first = [], [], nn.ModuleList()
        for places, stack in zoo.stacks(LARGEST):
            values = torch.cat([tensor.flatten(1) for tensor in stack.tensors.values()], 1)
            known = values[torch.from_numpy(np.flatnonzero(np.isin(places, train)))]
            known = known if len(known) > 1 else values
            self.groups.append(places)
            self.values.append((values - known.mean(0)) / known.std(0).clamp_min(1e-5))
            self.first.append(nn.Linear(values.shape[1], self.HIDDEN))
        self.rest = nn.Sequential(
            nn.ReLU(), nn.Linear(self.HIDDEN, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, width)
        )

    def forward(self, group: int, rows: Tensor) -> Tensor:
        """Vectors (rows, width)."""
        return self.rest(self.first[group](self.values[group][rows]))


class Autoencoder(Flattened):
    """An autoencoder of all weights in one vector, standardised: one for each signature with a code of ``width``."""

    def __init__(self, zoo: Zoo, width: int, train: Places) -> None:
        super().__init__(zoo, width, train)
        hidden = [nn.Sequential(nn.ReLU(), nn.Linear(self.HIDDEN, width)) for _ in self.groups]
        self.rest = nn.ModuleList(hidden)
        back = [(width, values.shape[1]) for values in self.values]
        self.back = nn.ModuleList(
            nn.Sequential(nn.Linear(code, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, size))
            for code, size in back
        )

    def forward(self, group: int, rows: Tensor) -> Tensor:
        """Codes (rows, width)."""
        return self.rest[group](self.first[group](self.values[group][rows]))

    def reconstruction(self, group: int, rows: Tensor) -> Tensor:
        """Mean squared error of the standardised weights."""
        return F.mse_loss(self.back[group](self(group, rows)), self.values[group][rows])


class LearnedProbes(Peer):
    """Learned inputs through the networks' own modules, and an MLP on what they answer, as ProbeGen and its forerunners
    have it (Kahana et al. 2024, https://arxiv.org/abs/2410.10811).

    A probe is an 8×8 raster that is brought to each network's input shape. Networks that read tokens answer seeded
    sequences, for which only the MLP is learned. Of a network's outputs the first ten are heard.
    """

    PROBES, OUTPUTS, HIDDEN = 64, 10, 512

    def __init__(self, zoo: Zoo, width: int, train: Places) -> None:
        super().__init__()
        self.groups, self.configs, self.states = [], [], []
        for config, places in zoo.configs:
            if config.get("model_type") in KINDS:
                states = [load_file(zoo.folder(place) / "model.safetensors") for place in places]
                self.groups.append(places)
                self.configs.append(config)
                self.states.append({name: torch.stack([one[name] for one in states]) for name in states[0]})
        self.probes = nn.Parameter(torch.randn(self.PROBES, 1, 8, 8))
        self.heads = nn.ModuleDict({kind: self._head(width) for kind in ("numbers", "tokens")})
        self.modules_of: dict[tuple[int, int], nn.Module] = {}

    def _head(self, width: int) -> nn.Sequential:
        size = 2 * self.PROBES * self.OUTPUTS
        hidden = [nn.Linear(size, self.HIDDEN), nn.GELU(), nn.Linear(self.HIDDEN, self.HIDDEN), nn.GELU()]
        return nn.Sequential(nn.LayerNorm(size), *hidden, nn.Linear(self.HIDDEN, width))

    def forward(self, group: int, rows: Tensor) -> Tensor:
        """Vectors (rows, width)."""
        logits = self.answers(group, rows)
        missing = self.OUTPUTS - logits.shape[2]
        seen = torch.cat([F.pad(logits, (0, missing)), F.pad(logits.softmax(2), (0, missing))], 2)
        kind = "tokens" if "vocab_size" in self.configs[group] else "numbers"
        return self.heads[kind](seen.flatten(1))

    def answers(self, group: int, rows: Tensor) -> Tensor:
        """Logits (rows, probes, outputs)."""
        models, config = len(rows), self.configs[group]
        if (group, models) not in self.modules_of:
            self.modules_of[group, models] = build_population(config, models).eval()
        state = {
            name: nn.Parameter(values[rows].flatten(0, 1), False) if values.ndim > 1 else values[0]
            for name, values in self.states[group].items()
        }
        inputs = self.inputs(config)
        repeated = inputs.repeat(1, models, *[1] * (inputs.ndim - 2))
        answers = functional_call(self.modules_of[group, models], state, (repeated,))
        return answers.view(len(inputs), models, -1).transpose(0, 1)

    def inputs(self, config: dict[str, Any]) -> Tensor:
        """The probes in a network's input shape: (probes, *shape)."""
        shape = config["input_shape"]
        if "vocab_size" in config:
            generator = torch.Generator().manual_seed(0)
            return torch.randint(config["vocab_size"], (self.PROBES, *shape), generator=generator)
        if np.prod(shape) == self.probes[0].numel():
            return self.probes.view(-1, *shape)
        if len(shape) == 3:
            return F.interpolate(self.probes, shape[1:], mode="bilinear").expand(-1, shape[0], -1, -1)
        line = F.interpolate(self.probes.view(len(self.probes), 1, -1), int(np.prod(shape)), mode="linear")
        return line.view(-1, *shape)
