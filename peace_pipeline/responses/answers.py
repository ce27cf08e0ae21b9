"""What networks answer to the probes, one at a time and in stacks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Response:
    """What one network, called ``key``, answers to the probes of a ``kind`` of inputs and ``version``.

    ``outputs`` (probes, outputs) are its logits in the order of its ``labels``, where those have names; ``gram``
    sketches the last hidden layer, where it could be had; ``run_by`` names the runner; ``shape`` is that of an input,
    where that is known.
    """

    key: str
    kind: str
    outputs: NDArray[np.float32]
    version: str
    run_by: str
    labels: tuple[str, ...] | None = None
    gram: NDArray[np.float32] | None = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class NotRun:
    """A network without answers, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Answers:
    """Of networks that are asked alike: ``outputs`` (networks, probes, outputs); NaN where a network was not run."""

    kind: str
    outputs: torch.Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Answers:
        """The same on another device and of another dtype."""
        return replace(self, outputs=self.outputs.to(device, dtype))
