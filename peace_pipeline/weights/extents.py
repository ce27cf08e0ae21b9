"""Where a file keeps a tensor: its first byte and strides; values are read and overwritten there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from peace_pipeline.weights.local_blob import Blob, OverwritableBlob

BLOCK = 16 << 20
"""Bytes that are read at a time of a tensor whose values don't lie one after another."""


class Place(NamedTuple):
    """Values of ``shape`` whose first begins at byte ``start``; ``strides`` count values.

    ``swapped`` is whether the bytes of a number lie in the other order than on this machine.
    """

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    swapped: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there are no values."""
        return 0 in self.shape

    @property
    def stop(self) -> int:
        """The byte after the last value's; ``start`` where there are none."""
        if self.is_empty:
            return self.start
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return self.start + (last + 1) * self.dtype.itemsize

    @property
    def span(self) -> int:
        """Bytes from the first value to the last."""
        return self.stop - self.start

    @property
    def is_contiguous(self) -> bool:
        """Whether the values lie one after another."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != step:
                return False
            step *= n
        return True

    @property
    def overlaps(self) -> bool:
        """Whether one value may stand at several places of the tensor."""
        inner = 1
        for n, stride in reversed([*zip(self._ordered.shape, self._ordered.strides, strict=True)]):
            if n > 1 and stride < inner:
                return True
            inner += (n - 1) * stride
        return False

    def rows(self, start: int, stop: int) -> Place:
        """The place of rows [start, stop)."""
        first = self.start + start * self.strides[0] * self.dtype.itemsize
        return self._replace(start=first, shape=(stop - start, *self.shape[1:]))

    def read(self, blob: Blob, block: int = BLOCK) -> torch.Tensor:
        """The values, in memory of their own, read ``block`` bytes at a time where they don't lie one after another."""
        if self.is_empty:
            return torch.empty(self.shape, dtype=self.dtype)
        if self.is_contiguous:
            return self._content(blob).view(self.shape)
        tensor = torch.empty(self.shape, dtype=self.dtype)
        for part, target in self._ordered._parts(tensor.permute(self._order), block):
            target.copy_(part._content(blob).as_strided(part.shape, part.strides))
        return tensor

    def write(self, blob: OverwritableBlob, values: torch.Tensor, block: int = BLOCK) -> None:
        """Overwrite the values with others of the same shape and dtype; what lies between them stays."""
        if self.is_empty:
            return
        if self.is_contiguous:
            blob.write(self.start, self._raw(values))
            return
        for part, source in self._ordered._parts(values.permute(self._order), block):
            content = part._content(blob)
            content.as_strided(part.shape, part.strides).copy_(source)
            blob.write(part.start, part._raw(content))

    @property
    def _order(self) -> list[int]:
        """The axes by their strides, widest first."""
        return sorted(range(len(self.strides)), key=lambda axis: -self.strides[axis])

    @property
    def _ordered(self) -> Place:
        order = self._order
        return self._replace(
            shape=tuple(self.shape[axis] for axis in order),
            strides=tuple(self.strides[axis] for axis in order),
        )

    def _parts(self, values: torch.Tensor, block: int) -> Iterator[tuple[Place, torch.Tensor]]:
        """Parts of at most a block from the first value to the last, and the same parts of ``values``."""
        if self.span <= block:
            yield self, values
            return
        step = max(1, block // (self.strides[0] * self.dtype.itemsize))
        for start in range(0, self.shape[0], step):
            rows = self.rows(start, min(start + step, self.shape[0]))
            if step == 1:
                row = rows._replace(shape=rows.shape[1:], strides=rows.strides[1:])
                yield from row._parts(values[start], block)
            else:
                yield from rows._parts(values[start : start + step], block)

    def _content(self, blob: Blob) -> torch.Tensor:
        """All values of the file from the first to the last, flat."""
        return torch.from_numpy(self._native(blob.read(self.start, self.stop))).view(self.dtype)

    def _raw(self, values: torch.Tensor) -> np.ndarray:
        """The bytes that stand for values, which are left as they are."""
        raw = values.contiguous().flatten().view(torch.uint8).numpy()
        return self._native(raw.copy()) if self.swapped else raw

    def _native(self, raw: np.ndarray) -> np.ndarray:
        """Bytes with those of each number in this machine's order (or back), in place."""
        if self.swapped:
            number = self.dtype.itemsize // (2 if self.dtype.is_complex else 1)
            raw.view(f"u{number}").byteswap(inplace=True)
        return raw


def contiguous(start: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Place:
    """The place of values one after another, in this machine's byte order."""
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return Place(start, dtype, shape, strides)
