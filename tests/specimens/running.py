"""Acting on a saved specimen and running it again: the proof of a symmetry.

A checkpoint is changed as ``peace transform`` changes one: through its logical tensors, in place in a copied file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from peace_pipeline.symmetry.group.actions import Action
from peace_pipeline.symmetry.group.elements import Element, Strength, Tensors, random_element
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.testing import movement
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.logical import LogicalTensors
from peace_pipeline.weights.rewriting import rewrite
from peace_pipeline.zoo.card import read_config
from tests.specimens import FAMILIES, Specimen


@dataclass(frozen=True)
class Saved:
    """A specimen of seed 0 in ``folder``, loaded from there."""

    specimen: Specimen
    folder: Path
    module: nn.Module

    @classmethod
    def build(cls, specimen: Specimen, folder: Path, dtype: torch.dtype = torch.float64) -> Saved:
        """Save a specimen and load it."""
        specimen.save(specimen.build(0, dtype), folder)
        return cls(specimen, folder, specimen.load(folder))

    @cached_property
    def wiring(self) -> Wiring:
        """What PEACE takes the checkpoint for."""
        with self._opened() as (_, wiring):
            return wiring

    @cached_property
    def outputs(self) -> Tensor:
        """The function's values at the inputs of seed 1."""
        return self.specimen.run(self.module, self.specimen.inputs(1))

    def element(self, strength: Strength, seed: int = 3) -> Element:
        """A random element of the symmetry group."""
        generator = torch.Generator().manual_seed(seed)
        return random_element(self.wiring, 1, generator, strength, dtype=torch.float64)

    def acted(self, element: Element, folder: Path) -> Saved:
        """The checkpoint after an element acted on it, written to ``folder`` and loaded."""
        with self._opened() as (network, wiring):
            new = _new_values(network, wiring, element)
        return self.with_tensors(new, folder)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The logical tensors, float64, as a batch of one."""
        with self._opened() as (network, _):
            return {name: network.read(name, torch.float64)[None] for name in network.tensors}

    def with_tensors(self, new: Mapping[str, Tensor], folder: Path) -> Saved:
        """The checkpoint with new logical tensors (a batch of one), written to ``folder`` and loaded."""
        with self._opened() as (network, _):

            def values(name: str, old: Tensor) -> Tensor | None:
                return new[name][0] if name in new else None

            rewrite(self.folder, folder, self._weights, lambda stored: network.rewritten(stored, values))
        return Saved(self.specimen, folder, self.specimen.load(folder))

    def function(self, folder: Path) -> Callable[[Tensors], Tensor]:
        """What the network computes of its logical tensors, which are written to ``folder`` and loaded from there."""

        def outputs(tensors: Tensors) -> Tensor:
            shutil.rmtree(folder, ignore_errors=True)
            return self.with_tensors(tensors, folder).outputs

        return outputs

    def change(self, other: Saved) -> float:
        """How far another's outputs lie from these at most, in standard deviations (see :func:`movement`)."""
        return float(movement(self.outputs, other.outputs).max())

    def left_out(self, other: Saved) -> dict[str, float]:
        """Parameter or statistic that differs in ``other`` → the change of outputs where it alone keeps its old value
        there."""
        old = dict(_named(self.module))
        changes = {}
        for name, tensor in _named(other.module):
            if torch.equal(tensor, old[name]):
                continue
            kept = tensor.detach().clone()
            tensor.data.copy_(old[name])
            outputs = self.specimen.run(other.module, self.specimen.inputs(1))
            changes[name] = float(movement(self.outputs, outputs).max())
            tensor.data.copy_(kept)
        return changes

    @property
    def _weights(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.suffix == ".safetensors"]

    @contextmanager
    def _opened(self) -> Iterator[tuple[LogicalTensors, Wiring]]:
        with open_checkpoint(self._weights) as checkpoint:
            opened = OpenNetwork.of(checkpoint, read_config(self.folder))
            yield opened.logical, opened.wiring


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _new_values(network: LogicalTensors, wiring: Wiring, element: Element) -> dict[str, Tensor]:
    action = Action(wiring, element)
    acted: dict[str, Tensor] = {}

    def read(name: str) -> Tensor:
        return network.read(name, torch.float64)[None]

    for wired in wiring.layers:
        acted |= action.layer(wired, read)
    for group in dict.fromkeys(wired.into.group for wired in wiring.layers if wired.into and wired.before):
        acted |= action.norm(group, read)
    return acted


class Shelf:
    """Saved specimens by name, each built when it is first asked for; they are shared and not to be changed."""

    def __init__(self, folder: Path, specimens: Mapping[str, Specimen] = FAMILIES) -> None:
        self._folder, self._specimens = folder, specimens
        self._saved: dict[str, Saved] = {}

    def __getitem__(self, name: str) -> Saved:
        if name not in self._saved:
            self._saved[name] = Saved.build(self._specimens[name], self._folder / name)
        return self._saved[name]
