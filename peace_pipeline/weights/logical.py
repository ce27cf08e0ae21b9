"""A checkpoint's logical tensors: one a layer's weight or bias, whatever way the file stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from peace_pipeline.weights import fused, names, quantised, reparametrised
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Stored, Views


class LogicalTensors:
    """The logical tensors of an open checkpoint; read as a :class:`Checkpoint`'s are."""

    def __init__(self, checkpoint: Checkpoint, views: Views) -> None:
        self._checkpoint, self._views = checkpoint, views
        self.tensors = {
            name: view.info if view.info.name == name else replace(view.info, name=name)
            for name, view in views.items()
        }

    @property
    def parameters(self) -> int:
        """Number of floating-point values."""
        return sum(info.size for info in self.tensors.values() if info.is_floating)

    @property
    def sampled(self) -> bool:
        """Whether a byte budget left something out."""
        return self._checkpoint.sampled

    def read(self, name: str, dtype: torch.dtype | None = torch.float32) -> torch.Tensor:
        """One tensor, converted to ``dtype`` (``None`` keeps its own).

        Raises:
            UnreadableCheckpoint: where it can't be had.
        """
        return self._views[name].read(self._checkpoint, dtype)


def logical(checkpoint: Checkpoint, config: Mapping[str, Any]) -> LogicalTensors:
    """The logical tensors of a checkpoint with this config.json (which may be empty, and wrong).

    Raises:
        UnsupportedFormat: where weights are quantised in a way that is not read.
    """
    return LogicalTensors(checkpoint, views_of(checkpoint.tensors.values(), config))


def views_of(tensors: Iterable[TensorInfo], config: Mapping[str, Any]) -> Views:
    """Logical name → how that tensor is had from the stored ones, in the order of the latter.

    Buffers are left out, and copies of the input embedding that the config calls tied.
    """
    views = names.parameters({info.name: Stored(info) for info in tensors})
    views = reparametrised.computed(quantised.unscaled(views, config))
    views = names.respelled(views)
    views = fused.split(fused.input_last(views, config), config)
    return names.untied(views, config)
