"""A weight that is packed into other tensors, and what the schemes of packing share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.errors import CorruptFile, UnsupportedFormat, memory_errors
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Computed, Stored, View, Views, finished

Decode = Callable[..., torch.Tensor]
"""The stored tensors, each in its own dtype → the weight as float32."""


@dataclass(frozen=True)
class Packed(Computed):
    """A floating-point weight that ``decode`` gives from stored tensors."""

    info: TensorInfo
    of: tuple[View, ...]
    decode: Decode

    @property
    def parts(self) -> tuple[View, ...]:
        """See :class:`Computed`."""
        return self.of

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        stored = [  # codes in words of a floating type are no numbers
            checkpoint.raw(view.info.name) if isinstance(view, Stored) else view.read(checkpoint, None)
            for view in self.of
        ]
        try:
            with memory_errors():
                weight = self.decode(*stored).reshape(self.info.shape)
        except (ArithmeticError, IndexError, ValueError, RuntimeError) as error:
            sources = ", ".join(map(repr, self.sources))
            raise CorruptFile(f"tensor {self.info.name!r} can't be had from {sources}: {error}") from error
        return finished(self.info, weight, dtype)


@dataclass(frozen=True)
class Module:
    """The tensors of a packed weight: those whose names begin with ``at``; ``settings`` of its quantisation."""

    at: str
    views: Views
    settings: Mapping[str, Any]

    def get(self, end: str) -> View | None:
        """One of them by what follows ``at``."""
        return self.views.get(f"{self.at}{end}")

    def shape(self, end: str) -> tuple[int, ...]:
        """The shape of one; empty where it isn't there."""
        view = self.get(end)
        return view.info.shape if view else ()

    def dtype(self, end: str) -> str:
        """The dtype of one; empty where it isn't there."""
        view = self.get(end)
        return view.info.dtype if view else ""

    def note(self, end: str) -> tuple[int, ...]:
        """The values of one that is small; empty where it isn't there."""
        view = self.get(end)
        return view.info.note if view else ()

    def said(self, key: str) -> object:
        """A setting of the quantisation, which compressed-tensors has for groups of modules; of several none."""
        groups = self.settings.get("config_groups")
        first = (
            next(iter(groups.values()), None) if isinstance(groups, Mapping) and len(groups) == 1 else None
        )
        weights = first.get("weights") if isinstance(first, Mapping) else None
        return weights.get(key) if isinstance(weights, Mapping) else self.settings.get(key)

    def packed(
        self, name: str, shape: tuple[int, ...], scheme: str, ends: tuple[str, ...], decode: Decode
    ) -> Packed:
        """The weight ``name`` of this shape, decoded from the tensors with these ``ends``.

        Raises:
            UnsupportedFormat: where a byte budget leaves some of them out.
        """
        of = tuple(view for end in ends if (view := self.get(end)))
        if any(view.info.part for view in of):
            raise UnsupportedFormat(
                f"tensor {name!r}: packed ({scheme}), which a byte budget can't read in part"
            )
        return Packed(TensorInfo(name, shape, "float32", scheme), of, decode)

    def misfit(self, scheme: str) -> UnsupportedFormat:
        """For tensors whose shapes don't go together."""
        shapes = ", ".join(
            f"{name.removeprefix(self.at)} {view.info.shape}"
            for name, view in self.views.items()
            if name.startswith(self.at)
        )
        return UnsupportedFormat(
            f"tensor {self.at!r}: quantised ({scheme}) in a way that is not read: {shapes[:200]}"
        )


def whole(size: int, parts: int) -> int:
    """``size / parts`` where that is whole, else 0."""
    return size // parts if parts and size % parts == 0 else 0
