"""Gains that are stored as what they exceed one by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.conventions import conventions_of
from peace_pipeline.weights.tensors import Settings, TensorInfo, dtype_name
from peace_pipeline.weights.views import View, Views, finished


@dataclass(frozen=True)
class OnePlus:
    """One plus a tensor, in float64: a gain near one has more digits than the dtype of what is stored."""

    info: TensorInfo
    of: View

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        return finished(self.info, 1 + self.of.read(checkpoint, torch.float64), dtype)

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return self.of.sources

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return 1 + self.of.get(stored).double()

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return self.of.put(stored, new.double() - 1)


def gains_less_one(config: Mapping[str, Any], settings: Settings) -> re.Pattern[str] | None:
    """The names of norms that a checkpoint with this config.json stores less one; a GGUF file, as its ``settings``
    say it is, stores all whole."""
    return None if "general.architecture" in settings else conventions_of(config).gains_less_one


def whole_gains(views: Views, config: Mapping[str, Any], settings: Settings) -> Views:
    """Views in which norms give the factors that they multiply by."""
    norms = gains_less_one(config, settings)
    if norms is None:
        return views
    return {name: _one_plus(view) if norms.fullmatch(name) else view for name, view in views.items()}


def _one_plus(view: View) -> View:
    info = view.info
    if len(info.shape) != 1 or not info.is_floating:
        return view
    return OnePlus(replace(info, dtype=dtype_name(torch.float64), stored=info.stored or info.dtype), view)
