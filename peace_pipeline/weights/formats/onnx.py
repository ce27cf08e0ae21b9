"""ONNX: the graph is walked, never run; each weight is read by its position, in PyTorch's layout.

Integers and 8-bit floats that a ``DequantizeLinear`` with constant scale reads are dequantised; other integers stay
integers. Sparse tensors are refused; what a model's own functions hold is not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path, PureWindowsPath

import numpy as np
import torch

from peace_pipeline.weights.errors import CorruptFile, ForbiddenPath, UnsupportedFormat
from peace_pipeline.weights.extents import Place, contiguous
from peace_pipeline.weights.formats.onnx_flow import functions, passages
from peace_pipeline.weights.formats.onnx_layers import Blocks, Scale, Weight
from peace_pipeline.weights.formats.onnx_layout import weights_of
from peace_pipeline.weights.formats.onnx_model import Beside, ModelParser, StoredTensor
from peace_pipeline.weights.formats.onnx_quantised import in_floats
from peace_pipeline.weights.formats.protobuf import varints
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.logical.packing.bits import integers
from peace_pipeline.weights.tensors import Passage, TensorInfo, dtype_name

BLOCK = 4 << 20


class OnnxFile:
    """An open ONNX model; ``beside`` opens the files that hold its external data. ``block`` bytes of a stored tensor
    are transposed at once."""

    def __init__(self, blob: Blob, beside: Beside, block: int = BLOCK) -> None:
        self.blob, self.beside, self._block = blob, beside, block
        self.graph = ModelParser(blob, beside).parse()
        self._floating = in_floats(self.graph)
        self.weights, self._layers = weights_of(self._floating, blob.name)

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for name, weight in self.weights.items():
            stored = weight.stored.type.name if weight.scale else None
            yield TensorInfo(name, weight.shape, dtype_name(_dtype(weight)), stored, weight.eps)

    @cached_property
    def passages(self) -> list[Passage]:
        """See :class:`Flowing`."""
        if (
            self._floating is not self.graph
        ):  # quantised outputs are cut off, which may stand for an activation
            return []
        return passages(self.graph, self.weights, self._layers)

    @cached_property
    def functions(self) -> Counter[str]:
        """See :class:`Computing`."""
        return functions(self.graph)

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        weight = self.weights[name]
        start, stop = rows or (0, weight.shape[0])
        if isinstance(weight.scale, Blocks):
            return self._of_blocks(weight, weight.scale)[start:stop]
        if weight.transposed:
            return self._columns(weight, start, stop)
        parts = [self._rows(weight, first, last) for first, last in _clip(weight.blocks, start, stop)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(stop - start, *weight.shape[1:])

    def places(self, name: str) -> list[Place]:
        """See :class:`ByPosition`."""
        weight = self.weights[name]
        stored, dtype = weight.stored, _dtype(weight)
        if weight.scale or stored.packed or stored.location or len(stored.spans) != 1:
            how = "in another file" if stored.location else "quantised, as varints or in pieces"
            raise UnsupportedFormat(f"{self.blob.name}: tensor {name!r} is stored {how}")
        [(origin, _)] = stored.spans
        if weight.transposed:
            return [Place(origin, dtype, weight.shape, (1, stored.shape[1]))]
        inner, row = weight.shape[1:], weight.width * dtype.itemsize
        return [
            contiguous(origin + first * row, dtype, (last - first, *inner)) for first, last in weight.blocks
        ]

    def _columns(self, weight: Weight, start: int, stop: int) -> torch.Tensor:
        """Columns [start, stop) of the stored matrix as rows, a block of it at a time."""
        height, width = weight.stored.shape
        columns = torch.empty(stop - start, height, dtype=_dtype(weight))
        step = max(1, self._block // max(width * columns.element_size(), 1))
        for first in range(0, height, step):
            last = min(first + step, height)
            block = self._rows(weight, first, last).view(-1, width)
            columns[:, first:last] = block[
                :, start:stop
            ].T.contiguous()  # much faster than straight into place
        return columns

    def _of_blocks(self, weight: Weight, scale: Blocks) -> torch.Tensor:
        """The matrix that packed blocks stand for."""
        outputs, inputs = weight.shape
        codes = integers(self._values(weight.stored, 0, weight.stored.size).view(outputs, -1), scale.bits)
        values = codes.view(outputs, -1, scale.size).float()
        if scale.zero is None:
            values -= 2 ** (scale.bits - 1)
        else:
            zeros = self._values(scale.zero, 0, scale.zero.size).view(outputs, -1)
            is_packed = zeros.dtype == torch.uint8
            zeros = integers(zeros, scale.bits)[:, : values.shape[1]] if is_packed else zeros
            values -= zeros.float().unsqueeze(-1)
        factor = self._values(scale.factor, 0, scale.factor.size).view(outputs, -1, 1)
        return values.mul_(factor.float()).flatten(1)[:, :inputs].to(factor.dtype)

    def _rows(self, weight: Weight, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop) of the stored tensor, flat and dequantised."""
        values = self._values(weight.stored, start * weight.width, stop * weight.width)
        if not isinstance(weight.scale, Scale):
            return values
        shape, axis = weight.stored.shape, weight.scale.axis
        values = values.to(torch.float32).view(stop - start, *shape[1:])
        scale = weight.scale
        for part, apply in (
            (scale.zero, values.sub_),
            (scale.factor, values.mul_),
            (scale.more, values.mul_),
        ):
            if part is not None:
                numbers = self._values(part, 0, part.size).to(torch.float32)
                if len(numbers) > 1:
                    numbers = numbers.view(-1, *[1] * (len(shape) - 1 - axis))
                    numbers = numbers[start:stop] if axis == 0 else numbers
                apply(numbers)
        return values.to(_dtype(weight)).flatten()

    def _values(self, stored: StoredTensor, start: int, stop: int) -> torch.Tensor:
        """Values [start, stop) of a tensor, flat."""
        if stored.location is None:
            return _values(self.blob, stored, start, stop)
        with self.beside(stored.location) as blob:
            return _values(blob, stored, start, stop)


@contextmanager
def open_file(path: Path, block: int = BLOCK) -> Iterator[OnnxFile]:
    """Open an ONNX model, of which ``block`` bytes are transposed at once.

    Raises:
        UnreadableCheckpoint: where it is no ONNX model, lies of its values, or holds some that are not read.
    """
    with local_blob(path) as blob:
        yield OnnxFile(blob, partial(_beside, path), block)


@contextmanager
def _beside(model: Path, location: str) -> Iterator[Blob]:
    """Open the file of a relative path in a model's folder.

    Raises:
        ForbiddenPath: where the path leads out of it.
    """
    folder = model.parent.resolve()
    try:
        path = (folder / location).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise ForbiddenPath(f"{model.name}: it names no file by {location[:80]!r}") from error
    windows = PureWindowsPath(location)
    outside = windows.drive or windows.root or ".." in windows.parts or not path.is_relative_to(folder)
    if outside or path == folder:
        raise ForbiddenPath(f"{model.name}: it names a file outside its folder, {location[:80]!r}")
    with local_blob(path) as blob:
        yield blob


def _dtype(weight: Weight) -> torch.dtype:
    dtype = (weight.scale.factor if weight.scale else weight.stored).type.dtype
    assert dtype is not None  # checked when the file was opened
    return dtype


def _values(blob: Blob, stored: StoredTensor, start: int, stop: int) -> torch.Tensor:
    dtype = stored.type.dtype
    assert dtype is not None
    if not stored.packed and len(stored.spans) == 1:
        origin, width = stored.spans[0][0], dtype.itemsize
        return _typed(blob.read(origin + start * width, origin + stop * width), dtype)
    data = np.concatenate([np.empty(0, np.uint8), *(blob.read(*span) for span in stored.spans)])
    if stored.packed:
        data = _unpacked(blob.name, stored, data, dtype)
    return _typed(data, dtype)[start:stop]


def _typed(data: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(data).view(dtype) if len(data) else torch.empty(0, dtype=dtype)


def _unpacked(file: str, stored: StoredTensor, data: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """The bytes of the values that packed varints stand for."""
    kind = f"<u{dtype.itemsize}"
    try:
        numbers = np.concatenate([np.empty(0, kind), *(block.astype(kind) for block in varints(data))])
    except ValueError as error:
        raise CorruptFile(f"{file}: tensor {stored.name!r}: {error}") from error
    if len(numbers) != stored.size:
        raise CorruptFile(f"{file}: tensor {stored.name!r} has {len(numbers):,} values, not {stored.size:,}")
    return numbers.view(np.uint8)


def _clip(blocks: Iterable[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """The parts of the blocks that make up rows [start, stop) of them all."""
    parts, at = [], 0
    for first, last in blocks:
        begin, end = max(start - at, 0), min(stop - at, last - first)
        if begin < end:
            parts.append((first + begin, first + end))
        at += last - first
    return parts or [(0, 0)]
