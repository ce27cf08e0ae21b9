"""What a claim is tried on: a small network with random weights that is saved, loaded and run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 3
Inputs = dict[str, Any]
Outputs = list[Tensor]


class Unbuildable(Exception):
    """A subject that can't be built small, run or saved, with the reason."""


@dataclass(frozen=True)
class Subject(ABC):
    """A network to try; ``kind`` is what it is an example of."""

    name: str
    kind: str

    @abstractmethod
    def build(self, seed: int = 0) -> nn.Module:
        """A random network in evaluation mode, float64."""

    @abstractmethod
    def inputs(self, module: nn.Module) -> list[Inputs]:
        """Several kinds of inputs."""

    @abstractmethod
    def run(self, module: nn.Module, inputs: Inputs) -> Outputs:
        """The network's function."""

    @abstractmethod
    def save(self, module: nn.Module, path: Path) -> Path:
        """Write a checkpoint below ``path``, which is a folder; gives the checkpoint's own path."""

    @abstractmethod
    def load(self, path: Path) -> nn.Module:
        """Read a checkpoint."""


@dataclass(frozen=True)
class Plain(Subject):
    """A plain torch module, saved as its state alone; ``shapes`` are those of its inputs without the batch, or a
    number of tokens and the size of their vocabulary."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...] | Tokens, ...]

    def build(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        module = self.make().double().eval().requires_grad_(False)
        randomise(module, torch.Generator().manual_seed(seed))
        return module

    def inputs(self, module: nn.Module) -> list[Inputs]:
        """Normal ones, large ones, and ones that are all positive."""
        kinds: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: x, lambda x: 3 * x, torch.abs)
        found = []
        for seed, alter in enumerate(kinds):
            generator = torch.Generator().manual_seed(seed)
            drawn = [
                shape.draw(generator) if isinstance(shape, Tokens) else alter(_normal(generator, shape))
                for shape in self.shapes
            ]
            found.append({str(position): x for position, x in enumerate(drawn)})
        return found

    @torch.no_grad()
    def run(self, module: nn.Module, inputs: Inputs) -> Outputs:
        found = module(*inputs.values())
        return [found] if isinstance(found, Tensor) else list(found)

    def save(self, module: nn.Module, path: Path) -> Path:
        torch.save(module.state_dict(), path / "model.pt")
        return path / "model.pt"

    def load(self, path: Path) -> nn.Module:
        module = self.make().double().eval().requires_grad_(False)
        module.load_state_dict(torch.load(path))
        return module


@dataclass(frozen=True)
class Tokens:
    """Inputs that are ids of tokens."""

    length: int
    vocabulary: int

    def draw(self, generator: torch.Generator) -> Tensor:
        return torch.randint(self.vocabulary, (BATCH, self.length), generator=generator)


class Net(nn.Module):
    """Named parts, and what is computed with them: a function of the module and its inputs."""

    def __init__(self, compute: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)
        self._compute = compute

    def forward(self, *inputs: Tensor) -> Any:
        return self._compute(self, *inputs)


PLAIN: dict[str, Plain] = {}
"""Plain modules by name."""


def plain(
    kind: str, *shapes: tuple[int, ...] | Tokens
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Decorator: a function that makes a module of this kind, for inputs of these shapes."""

    def add(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        PLAIN[make.__name__] = Plain(make.__name__, kind, make, shapes)
        return make

    return add


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter and running statistic anew, so that nothing is zero or one by its initialisation: matrices
    and kernels with variance 1 / fan-in, vectors near where they are."""
    for name, tensor in _tensors(module):
        drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_mean"):
            tensor.copy_(0.2 * drawn)
        elif name.endswith("running_var"):
            tensor.copy_(torch.exp(0.4 * drawn))
        elif tensor.ndim < 2:
            tensor.copy_(tensor.double() + 0.3 * drawn)
        else:
            tensor.copy_(drawn / max(tensor[0].numel(), 1) ** 0.5)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and running statistics, each once."""
    yield from module.named_parameters()
    yield from ((name, x) for name, x in module.named_buffers() if "running" in name)


def _normal(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Normal values; images have colours of their own, which pooling doesn't average out."""
    x = torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64)
    if len(shape) == 3:
        x += torch.randn(BATCH, shape[0], 1, 1, generator=generator, dtype=torch.float64)
    return x
