"""State dictionaries as files: written, and read as logical tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import logical
from tests.networks import infos_of

State = Mapping[str, torch.Tensor]


def written(path: Path, state: State) -> Path:
    save_file({name: value.detach().clone().contiguous() for name, value in state.items()}, path)
    return path


def read_all(folder: Path, state: State, config: dict[str, Any] | None = None) -> dict[str, torch.Tensor]:
    """The logical tensors of a state dictionary, through a file."""
    with open_checkpoint([written(folder / "m.safetensors", state)]) as checkpoint:
        network = logical(checkpoint, config or {})
        found = {name: network.read(name, torch.float64) for name in network.tensors}
    for name, tensor in found.items():
        assert (network.tensors[name].name, network.tensors[name].shape) == (name, tuple(tensor.shape))
    return found


def random_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's own state, every parameter random (PyTorch starts with many zeros), float64."""
    torch.manual_seed(0)
    module.double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.state_dict()


def dense(tensors: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def random_input(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def kinds(tensors: State) -> dict[str, str]:
    return {layer.name: layer.kind for layer in layers_of(infos_of(tensors))}


FLOAT8 = (torch.randn(300, 200, generator=torch.Generator().manual_seed(2)) * 100).to(torch.float8_e4m3fn)
