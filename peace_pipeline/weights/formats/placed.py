"""Weight files that keep tensors as plain numbers at places of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize
from peace_pipeline.weights.extents import Place, contiguous
from peace_pipeline.weights.local_blob import Blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS, TensorInfo, dtype_name


class PlacedFile:
    """Tensors of a blob, by name at their places."""

    def __init__(self, blob: Blob, tensors: Mapping[str, Place]) -> None:
        self.blob, self._tensors = blob, tensors

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for name, place in self._tensors.items():
            yield TensorInfo(name, place.shape, dtype_name(place.dtype))

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        place = self._tensors[name]
        return (place if rows is None else place.rows(*rows)).read(self.blob)

    def places(self, name: str) -> list[Place]:
        """See :class:`ByPosition`."""
        return [self._tensors[name]]


def placed(
    blob: Blob,
    name: str,
    start: int,
    size: int,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    *,
    swapped: bool = False,
) -> Place:
    """The place of a tensor that takes the ``size`` bytes from ``start`` on.

    Raises:
        CorruptFile: where they are not there, or are not as many as its shape takes.
        ExcessiveSize: where it has more dimensions than any network's.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ExcessiveSize(f"{blob.name}: tensor {name[:80]!r} has {len(shape)} dimensions")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise CorruptFile(f"{blob.name}: tensor {name[:80]!r} of shape {shape} does not take {size:,} bytes")
    if not 0 <= start <= start + size <= blob.size:
        raise CorruptFile(f"{blob.name}: tensor {name[:80]!r} goes beyond the end of the file")
    return contiguous(start, dtype, shape)._replace(swapped=swapped)
