"""Peers that are trained by gradients: each reads networks group by group (of one signature, or one config.json)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from nfn.common import WeightSpaceFeatures, network_spec_from_wsfeat
from nfn.layers import HNPLinear, HNPPool, NPLinear, TupleOp
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from peace_pipeline.symmetry.network import Stack
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

    As published for small CNNs: layers of 16, 16 and 5 channels, pooled with inputs and outputs kept apart, a head of
    two hidden layers of 1,000. ``NP`` standardises each weight on the training networks and learns embeddings of
    inputs and outputs; ``HNP`` takes weights as they are. Convolutions of one dimension count as of two; what follows
    a flattened map has the map's positions as its kernel; a folded norm is part of its layer.
    """

    CHANNELS, HIDDEN = (16, 16, 5), 1000

    def __init__(self, zoo: Zoo, width: int, train: Places, mode: str) -> None:
        super().__init__()
        self.groups, self.features, self.nets = [], [], nn.ModuleList()
        for places, stack in zoo.stacks(LARGEST):
            if is_chain(stack):
                features = weight_space(stack)
                if mode == "NP":
                    features = _standardised(features, np.flatnonzero(np.isin(places, train)))
                self.groups.append(places)
                self.features.append(features)
                self.nets.append(self.net(features, width, mode))

    def forward(self, group: int, rows: Tensor) -> Tensor:
        """Vectors (rows, width)."""
        return self.nets[group](self.features[group].map(lambda tensor: tensor[rows]))

    @classmethod
    def net(cls, features: WeightSpaceFeatures, width: int, mode: str) -> nn.Sequential:
        spec = network_spec_from_wsfeat(features)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *cls.CHANNELS), cls.CHANNELS, strict=False):
            linear = (
                HNPLinear(spec, inputs, outputs) if mode == "HNP" else NPLinear(spec, inputs, outputs, True)
            )
            layers += [linear, TupleOp(nn.ReLU())]
        pooled = cls.CHANNELS[-1] * HNPPool.get_num_outs(spec)
        head = [nn.Linear(pooled, cls.HIDDEN), nn.ReLU(), nn.Linear(cls.HIDDEN, cls.HIDDEN), nn.ReLU()]
        return nn.Sequential(*layers, HNPPool(spec), nn.Flatten(-2), *head, nn.Linear(cls.HIDDEN, width))


def is_chain(stack: Stack) -> bool:
    """Whether each layer reads what the one before it writes, and nothing else."""
    layers = stack.wiring.layers
    linked = all(
        after.into is not None and after.into.group == before.out.group for before, after in pairwise(layers)
    )
    return linked and all(
        one.layer.kind in ("linear", "conv1d", "conv2d") and not one.is_diagonal for one in layers
    )


def weight_space(stack: Stack) -> WeightSpaceFeatures:
    """A chain as nfn takes it: weights (batch, 1, out, in[, height, width]) and biases (batch, 1, out)."""
    weights, biases = [], []
    for wired in stack.wiring.layers:
        weight = stack.tensors[wired.layer.tensors["weight"]]
        if weight.ndim == 4:  # a convolution of one dimension
            weight = weight[..., None, :]
        elif weight.ndim == 3 and wired.into and wired.into.block > 1:
            weight = weight.unflatten(2, (-1, 1, wired.into.block))
        name = wired.layer.tensors.get("bias")
        biases.append((stack.tensors[name] if name else weight.new_zeros(weight.shape[:2]))[:, None])
        weights.append(weight[:, None])
    return WeightSpaceFeatures(weights, biases)


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
