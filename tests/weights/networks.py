"""Small networks as their modules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

State = Mapping[str, torch.Tensor]
Modules = Mapping[str, nn.Module]
"""A network as its modules by name, in the order of data flow."""

EPS = 1e-5


def _modules(seed: int, **modules: nn.Module) -> Modules:
    generator = torch.Generator().manual_seed(seed)
    for module in modules.values():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.25)
    return modules


def mlp() -> Modules:
    return _modules(1, fc1=nn.Linear(6, 5), fc2=nn.Linear(5, 4), fc3=nn.Linear(4, 3))


def cnn(eps: float = EPS) -> Modules:
    """Convolutions with BatchNorm; a mean over the image stands before the last layer."""
    return _modules(
        2,
        conv1=nn.Conv2d(3, 4, 3, bias=False),
        bn1=nn.BatchNorm2d(4, eps=eps),
        conv2=nn.Conv2d(4, 6, (1, 2)),
        bn2=nn.BatchNorm2d(6, eps=eps),
        fc=nn.Linear(6, 3),
    )


def recurrent() -> Modules:
    return _modules(
        3,
        embedding=nn.Embedding(7, 5),
        lstm=nn.LSTM(5, 4, bias=False, batch_first=True),
        fc=nn.Linear(4, 3),
    )


def attention() -> Modules:
    """The weights of an attention layer; for the formats' sake its parts stand one after another."""
    parts = {f"{part}_proj": nn.Linear(6, 6) for part in "qkvo"}
    return _modules(
        4, embedding=nn.Embedding(9, 6), **parts, norm=nn.LayerNorm(6, eps=EPS), head=nn.Linear(6, 9)
    )


NETWORKS: dict[str, Callable[[], Modules]] = {
    "mlp": mlp,
    "cnn": cnn,
    "recurrent": recurrent,
    "attention": attention,
}


def state_of(modules: Modules) -> dict[str, torch.Tensor]:
    """The network's state dictionary, without counts of batches."""
    return {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
        if value.dim()
    }


def as_module(modules: Modules) -> nn.Module:
    """One module that holds the others; it computes nothing."""
    module = nn.Module()
    for name, part in modules.items():
        module.add_module(name, part)
    return module.eval()
