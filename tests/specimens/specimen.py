"""What a specimen is: a small network of one family, with all that a test needs to run it before and after."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BATCH = 3
Inputs = dict[str, Tensor]
Feed = Callable[[torch.Generator], Inputs]
Config = dict[str, Any]


@dataclass(frozen=True)
class Specimen(ABC):
    """A family's small network. ``feed`` draws inputs, the keyword arguments of the module's forward."""

    feed: Feed

    @abstractmethod
    def make(self) -> nn.Module:
        """The module as its library initialises it."""

    @abstractmethod
    def config(self) -> Config:
        """The config.json."""

    @abstractmethod
    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a folder in Hub layout, as the family's library does."""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """Read a folder as the family's library does, in the file's dtype.

        Raises an error where a tensor is missing, unknown or of another shape.
        """

    def build(self, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
        """A random network in evaluation mode; in float32 it is the rounded float64 one."""
        module = self.make().double().eval().requires_grad_(False)
        randomise(module, torch.Generator().manual_seed(seed))
        return module.to(dtype)

    def inputs(self, seed: int) -> Inputs:
        """Random inputs; real ones are float64."""
        return self.feed(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def run(self, module: nn.Module, inputs: Inputs) -> Tensor:
        """The network's function at the inputs: all outputs of each example in a row (batch, values), float64."""
        dtype = next(module.parameters()).dtype
        cast = {name: x.to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}
        return torch.cat([output.double().reshape(BATCH, -1) for output in self.outputs(module, cast)], 1)

    @abstractmethod
    def outputs(self, module: nn.Module, inputs: Inputs) -> list[Tensor]:
        """What counts as the network's function."""


@dataclass(frozen=True)
class TorchSpecimen(Specimen):
    """A plain torch module, whose config.json is written by hand."""

    module: Callable[[], nn.Module]
    settings: Config

    def make(self) -> nn.Module:
        return self.module()

    def config(self) -> Config:
        return dict(self.settings)

    def save(self, module: nn.Module, folder: Path) -> None:
        write(folder, module.state_dict(), self.config())

    def load(self, folder: Path) -> nn.Module:
        return filled(self.make(), load_file(folder / "model.safetensors"))

    def outputs(self, module: nn.Module, inputs: Inputs) -> list[Tensor]:
        return [module(*inputs.values())]


@dataclass(frozen=True)
class TransformersSpecimen(Specimen):
    """A model class of transformers with a small configuration, run by its eager attention.

    ``read`` names the outputs that are the network's function: hidden states inside are not.
    """

    model: str
    settings: Config
    read: tuple[str, ...] = ("logits",)

    @property
    def model_class(self) -> Any:
        """The class, imported when it is asked for: transformers takes seconds."""
        import transformers

        return getattr(transformers, self.model)

    def make(self) -> nn.Module:
        config = self.model_class.config_class(**self.settings)
        return _plain(self.model_class._from_config(config, attn_implementation="eager", dtype=torch.float64))

    def config(self) -> Config:
        return json.loads(self.make().config.to_json_string()) | {"architectures": [self.model]}

    def save(self, module: nn.Module, folder: Path) -> None:
        module.save_pretrained(folder)

    def load(self, folder: Path) -> nn.Module:
        module, report = self.model_class.from_pretrained(
            folder, attn_implementation="eager", dtype="auto", output_loading_info=True
        )
        if any(report.values()):
            raise ValueError(f"{folder} does not fit {self.model}: {report}")
        return _plain(module).eval().requires_grad_(False)

    def outputs(self, module: nn.Module, inputs: Inputs) -> list[Tensor]:
        found = module(**inputs)
        return [found[name] for name in self.read]


def _plain(module: Any) -> Any:
    """The module with its experts run one after the other: the fused product knows no float64."""
    module.set_experts_implementation("eager")
    return module


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    """Normal inputs (batch, *shape), float64; images have colours of their own, which pooling doesn't average out."""
    size = (BATCH, *shape)
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    if len(shape) == 3:
        x += torch.randn((*size[:2], 1, 1), generator=generator, dtype=torch.float64)
    return x


def write(folder: Path, state: Mapping[str, Tensor], config: Config) -> None:
    """A folder of model.safetensors and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def filled(module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A module in evaluation mode with the tensors of ``state``, in their dtype."""
    dtype = next(x.dtype for x in state.values() if x.is_floating_point())
    module.to(dtype).load_state_dict(state)
    return module.eval().requires_grad_(False)


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter and running statistic anew, at the scale of trained networks.

    Matrices are normal with variance 1 / fan-in, kernels with 2 / fan-in (He et al. 2015), embeddings and tokens
    with deviation 0.5, biases with 0.2; gains lie in [0.5, 1.5] (in Gemma's norms as 1 + weight).
    """
    for owner, name, tensor in _owned(module):
        tensor.copy_(_drawn(owner, name, tensor, generator))


def _owned(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Each parameter and running statistic once, with the module that holds it; tied ones under their first."""
    seen = set()
    for owner in module.modules():
        running = [(name, x) for name, x in owner.named_buffers(recurse=False) if name.startswith("running")]
        for name, tensor in [*owner.named_parameters(recurse=False), *running]:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield owner, name, tensor


def _drawn(owner: nn.Module, name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    def normal(deviation: float) -> Tensor:
        return deviation * torch.randn(like.shape, generator=generator, dtype=torch.float64)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator, dtype=torch.float64)

    if name == "running_var":
        return uniform(0.5, 2)
    if name == "running_mean":
        return normal(0.5)
    if "bias" in name and like.ndim == 1:
        return normal(0.2)
    if name.startswith("weight") and like.ndim > 1 and not isinstance(owner, nn.Embedding):
        fan_in = like.shape[0] if type(owner).__name__ == "Conv1D" else like[0].numel()
        return normal(math.sqrt((2 if like.ndim > 2 else 1) / fan_in))
    if like.squeeze().ndim == 1 and ("weight" in name or "scale" in name or "gamma" in name):
        gains = uniform(0.5, 1.5)
        return gains - 1 if "Gemma" in type(owner).__name__ else gains
    return normal(0.5)
