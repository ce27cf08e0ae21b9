"""A network to be run, one that is ready, and why one can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.logical import LogicalTensors

MOST_INPUTS = 1 << 20
"""Values of one input: an image of 591×591 in three colours."""


class CannotRun(Exception):
    """A network that isn't run, with the reason in words."""


@dataclass(frozen=True)
class Model:
    """An open checkpoint called ``key``, its config.json (which may be empty) and the folder of its files.

    ``is_assumed``: the config is what names and shapes say, where there is none.
    """

    key: str
    checkpoint: Checkpoint
    config: dict[str, Any]
    folder: Path
    is_assumed: bool = False


@dataclass(frozen=True)
class Seen:
    """What networks answer to probes: ``outputs`` (networks, probes, outputs), or ``None`` for those without a head,
    and ``hidden`` (networks, probes, width), what their last linear layer reads, where it could be had."""

    outputs: Tensor | None
    hidden: Tensor | None


def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """What was seen of the inputs (networks, inputs, …), one part after the other; ``None`` where it isn't of one shape
    for all of them."""
    found = [part for part in parts if part is not None]
    alike = len({part.shape[2:] for part in found}) == 1 and len(found) == len(parts)
    return torch.cat(found, 1) if alike else None


Ask = Callable[[Sequence[Any], Tensor], Seen]


@dataclass(frozen=True)
class Ready:
    """A network with its weights in place: ``ask([network, …], inputs)`` runs those that are ``alike`` at once.

    ``alike`` is ``None`` for one that is run alone, others have ``size`` bytes; at most ``at_once`` probes are asked
    together.
    """

    key: str
    run_by: str
    spec: InputSpec
    network: Any
    ask: Ask
    labels: tuple[str, ...] | None = None
    alike: str | None = None
    size: int = 0
    at_once: int = 512


@contextmanager
def no_more_than(checkpoint: Checkpoint | LogicalTensors) -> Iterator[None]:
    """Modules that are built in this block, on the meta device, may have about as many parameters as a checkpoint.

    What a config.json claims costs nothing then: neither memory nor, for a billion layers, time.

    Raises:
        CannotRun: where they have more.
    """
    tensors, values = 2 * len(checkpoint.tensors) + 16, 2 * checkpoint.parameters + (1 << 16)
    found = [0, 0]

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        found[0] += 1
        found[1] += parameter.numel() if parameter is not None else 0
        if found[0] > 4 * tensors or found[1] > values:
            raise CannotRun("its config.json describes a larger network than its weights are")

    hook = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


@contextmanager
def read_by_last_linear_layer(module: nn.Module) -> Iterator[list[Tensor]]:
    """What the linear layer that is called last in this block reads: one tensor, or none where no such layer is called.

    What the layers before it read is let go, so that a forward pass takes no more memory than without.
    """
    read: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
        if given:
            read[:] = [given[0]]

    hooks = [part.register_forward_pre_hook(keep) for part in module.modules() if isinstance(part, nn.Linear)]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def labels_of(config: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of the outputs that ``id2label`` gives, where somebody gave them names."""
    given = config.get("id2label")
    if not isinstance(given, dict) or not given:
        return None
    names = [given.get(str(place)) for place in range(len(given))]
    if not all(isinstance(name, str) and name for name in names):
        return None
    if all(name == f"LABEL_{place}" for place, name in enumerate(names)):
        return None
    return tuple(str(name).encode("utf-8", "replace").decode() for name in names)
