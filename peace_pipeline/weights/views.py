"""Views: tensors of a network as its layers have them, each had from however a file stores it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.errors import NotFinite, UnsupportedFormat
from peace_pipeline.weights.tensors import Part, TensorInfo


class View(Protocol):
    """A tensor that can be read through an open checkpoint. ``info`` may still have the stored tensor's name."""

    @property
    def info(self) -> TensorInfo:
        """What reading gives."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the stored tensors that it is had from."""

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """The tensor (or its part) in ``dtype``, its own for ``None``.

        Raises:
            UnreadableCheckpoint: where it can't be had.
        """

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """The tensor from the whole stored one that it is had from.

        Raises:
            UnsupportedFormat: where it is computed.
        """

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """The stored tensor, in its dtype, for which :meth:`get` gives ``new``, and that is else as it was.

        Raises:
            UnsupportedFormat: where it is computed.
        """


Views = dict[str, View]
"""Logical name → view."""


@dataclass(frozen=True)
class Stored:
    """A tensor as it is stored."""

    info: TensorInfo

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        return checkpoint.read(self.info.name, dtype)

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return (self.info.name,)

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return stored

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return new.to(stored.dtype)


@dataclass(frozen=True)
class Transposed:
    """A tensor with its first two axes swapped."""

    info: TensorInfo
    of: View

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        return self.of.read(checkpoint, dtype).transpose(0, 1).contiguous()

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return self.of.sources

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return self.of.get(stored).transpose(0, 1).contiguous()

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return self.of.put(stored, new.transpose(0, 1))


@dataclass(frozen=True)
class Rows:
    """``width`` rows from ``start`` on, and again after each ``period``, ``count`` times: one head's, every head's."""

    start: int
    width: int
    period: int
    count: int = 1

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.width * self.count

    @property
    def blocks(self) -> Iterator[tuple[int, int]]:
        """The blocks [start, stop) of neighbouring rows."""
        for number in range(self.count):
            start = self.start + number * self.period
            yield start, start + self.width

    def among(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of ``rows`` (row numbers) are of these (a mask), and the places that those have among these."""
        number = (rows - self.start).div(self.period, rounding_mode="floor")
        within = (rows - self.start) % self.period
        mine = (number >= 0) & (number < self.count) & (within < self.width)
        return mine, (number * self.width + within)[mine]


@dataclass(frozen=True)
class Taken:
    """Some rows of a tensor."""

    info: TensorInfo
    of: View
    rows: Rows

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`. Only these rows are read where they lie in the file as they are."""
        stored = self.of.info
        if isinstance(self.of, Stored) and stored.part is None:
            blocks = [checkpoint.read(stored.name, dtype, block) for block in self.rows.blocks]
            return blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        whole = self.of.read(checkpoint, dtype)
        mine, _ = self.rows.among(positions(stored, 0))
        return whole[mine]

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return self.of.sources

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        whole = self.of.get(stored)
        return torch.cat([whole[start:stop] for start, stop in self.rows.blocks])

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        whole = self.of.get(stored).clone()
        for (start, stop), rows in zip(self.rows.blocks, new.split(self.rows.width), strict=True):
            whole[start:stop] = rows
        return self.of.put(stored, whole)


class Computed:
    """What views share that are computed from others."""

    info: TensorInfo

    @property
    def parts(self) -> tuple[View, ...]:
        """What it is computed from."""
        raise NotImplementedError

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return tuple(source for part in self.parts for source in part.sources)

    def get(self, stored: torch.Tensor) -> NoReturn:
        """See :class:`View`."""
        raise self._refusal

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> NoReturn:
        """See :class:`View`."""
        raise self._refusal

    @property
    def _refusal(self) -> UnsupportedFormat:
        sources = ", ".join(map(repr, self.sources))
        return UnsupportedFormat(f"tensor {self.info.name!r} is computed from {sources}: it can't be changed")


def transposed(view: View) -> Transposed:
    """A matrix or kernel with its first two axes swapped."""
    info = view.info
    first, second, *rest = info.shape
    part = info.part and (replace(info.part, axis=1 - info.part.axis) if info.part.axis < 2 else info.part)
    return Transposed(replace(info, shape=(second, first, *rest), part=part), view)


def taken(view: View, rows: Rows) -> Taken | None:
    """Some rows of a tensor; ``None`` where the part of it that is had has none of them."""
    info = view.info
    part = info.part
    if part is not None and part.axis == 0:
        _, places = rows.among(part.index)
        if not len(places):
            return None
        part = None if len(places) == rows.size else Part(0, _runs(places))
    return Taken(replace(info, shape=(rows.size, *info.shape[1:]), part=part), view, rows)


def consecutive(sizes: Iterable[int]) -> list[Rows]:
    """Row blocks of these sizes, one after the other."""
    blocks, start = [], 0
    for size in sizes:
        blocks.append(Rows(start, size, size))
        start += size
    return blocks


def positions(info: TensorInfo, axis: int) -> torch.Tensor:
    """The positions along an axis that reading a tensor gives."""
    if info.part is not None and info.part.axis == axis:
        return info.part.index
    return torch.arange(info.shape[axis])


def precision(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype in which a tensor that will be had in ``dtype`` is computed from others."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def finished(info: TensorInfo, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A computed tensor in ``dtype``.

    Raises:
        NotFinite: where it holds NaN or infinity.
    """
    tensor = tensor if dtype is None else tensor.to(dtype)
    if not bool(tensor.isfinite().all()):
        raise NotFinite(f"tensor {info.name!r} comes to values that are not finite")
    return tensor


def _runs(places: torch.Tensor) -> tuple[tuple[int, int], ...]:
    breaks = (places.diff() != 1).nonzero().flatten() + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in places.tensor_split(breaks))
