"""A checkpoint as named tensors, read one at a time; one reader a format, in a registry."""

from __future__ import annotations

import math
import os.path
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from peace_pipeline.weights.byte_budget import sample
from peace_pipeline.weights.errors import (
    DuplicateTensor,
    ExcessiveSize,
    ForbiddenPath,
    NoTensors,
    NotFinite,
    UnreadableCheckpoint,
    UnsupportedFormat,
    memory_errors,
)
from peace_pipeline.weights.formats.registry import open_file
from peace_pipeline.weights.tensors import (
    MAX_DIMENSIONS,
    MAX_NAME,
    MAX_TENSORS,
    Computing,
    Described,
    Flowing,
    InPieces,
    Passage,
    Settings,
    TensorFile,
    TensorInfo,
    dtype_name,
)
from peace_pipeline.zoo import files


class Checkpoint:
    """The tensors of a model, which may be spread over several ``files`` (shards), by their names.

    ``settings`` is what they say of the network, ``passages`` how data flows in it, and ``functions`` what is computed
    beside layers, where their format is one that says so.

    Raises:
        UnreadableCheckpoint: where two have one name, there are too many, or none is floating-point.
    """

    def __init__(self, parts: Mapping[str, TensorFile], settings: Settings | None = None) -> None:
        self.files = parts
        described = (part.settings for part in parts.values() if isinstance(part, Described))
        self.settings = next(described, {}) if settings is None else settings
        flowing = (part.passages for part in parts.values() if isinstance(part, Flowing))
        self.passages: Sequence[Passage] = next(flowing, ()) if len(parts) == 1 else ()
        computing = (part.functions for part in parts.values() if isinstance(part, Computing))
        self.functions: Mapping[str, int] | None = next(computing, None) if len(parts) == 1 else None
        self.tensors: dict[str, TensorInfo] = {}
        self._owner: dict[str, TensorFile] = {}
        for path, part in parts.items():
            for info in part.inventory():
                self._check(path, info)
                self.tensors[info.name] = info
                self._owner[info.name] = part
        if not self.parameters:
            raise NoTensors("no floating-point tensors")

    def _check(self, path: str, info: TensorInfo) -> None:
        if len(info.name) > MAX_NAME:
            raise ExcessiveSize(f"{path}: a tensor's name of {len(info.name):,} characters")
        if info.name.encode(errors="replace").decode() != info.name:
            raise UnreadableCheckpoint(f"{path}: tensor name {info.name!r} is no text")
        if info.name in self.tensors:
            raise DuplicateTensor(f"{path}: tensor {info.name!r} is there twice")
        if len(info.shape) > MAX_DIMENSIONS:
            raise ExcessiveSize(f"{path}: tensor {info.name!r} has {len(info.shape)} dimensions")
        if math.prod(max(size, 1) for size in info.shape) >= 1 << 63:  # an empty one can have any shape
            raise ExcessiveSize(f"{path}: tensor {info.name!r} has shape {info.shape}")
        if len(self.tensors) == MAX_TENSORS:
            raise ExcessiveSize(f"{path}: more than {MAX_TENSORS:,} tensors")

    def read(
        self, name: str, dtype: torch.dtype | None = torch.float32, rows: tuple[int, int] | None = None
    ) -> torch.Tensor:
        """One tensor, or its ``rows`` [start, stop), converted to ``dtype`` (``None`` keeps its own).

        Raises:
            NotFinite: where a floating tensor holds NaN or infinity.
            UnreadableCheckpoint: where it can't be had.
        """
        return finite(name, self._owner[name].read(name, rows), dtype)

    @property
    def in_pieces(self) -> bool:
        """Whether every file can be read in pieces, by several threads."""
        return all(isinstance(file, InPieces) for file in self._owner.values())

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The values of a tensor in its own dtype, flat, a piece at a time where the file can be read so.

        Raises:
            NotFinite: where a floating tensor holds NaN or infinity.
            UnreadableCheckpoint: where it can't be had.
        """
        file = self._owner[name]
        for piece in file.pieces(name) if isinstance(file, InPieces) else [file.read(name)]:
            yield finite(name, piece, None)

    @property
    def parameters(self) -> int:
        """Number of floating-point values."""
        return sum(info.size for info in self.tensors.values() if info.is_floating)

    @property
    def sampled(self) -> bool:
        """Whether a byte budget left something out."""
        return any(info.part for info in self.tensors.values())


def weight_files(place: Path) -> list[Path]:
    """The weight files of the model that a file, or a folder in Hub layout, stands for.

    Raises:
        UnreadableCheckpoint: where it stands for none, or it isn't certain for which.
    """
    if not os.path.exists(place):  # of a name that is too long, too
        raise UnreadableCheckpoint("no such file or folder")
    if not place.is_dir():
        return [place]
    names = [entry.name for entry in place.iterdir()]
    if not any(map(files.is_weights, names)):
        raise UnreadableCheckpoint("no weights in this folder")
    try:
        return [place / name for name in files.choose(names, files.indexed(place, names))]
    except files.ForbiddenShard as error:
        raise ForbiddenPath(str(error)) from error
    except files.AmbiguousWeights as error:
        raise UnreadableCheckpoint(str(error)) from error


@contextmanager
def open_checkpoint(paths: Iterable[Path], budget: int | None = None) -> Iterator[Checkpoint]:
    """Open the weight files of one model, to read at most ``budget`` bytes of tensors (all of them by default).

    Raises:
        UnreadableCheckpoint: where a file is of an unknown format, corrupt, truncated, or holds no floating-point
            tensor.
    """
    with ExitStack() as stack:
        parts: Mapping[str, TensorFile] = {path.name: stack.enter_context(open_file(path)) for path in paths}
        whole = Checkpoint(parts)
        yield whole if budget is None else Checkpoint(sample(parts, budget), whole.settings)


def finite(name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """The tensor in ``dtype`` (``None`` keeps its own).

    Raises:
        NotFinite: where a floating one holds NaN or infinity.
        UnsupportedFormat: where PyTorch can't do that with its dtype.
    """
    try:
        with memory_errors():
            if tensor.is_floating_point() and not _all_finite(tensor):
                raise NotFinite(f"tensor {name!r} holds values that are not finite")
            return tensor if dtype is None else tensor.to(dtype)
    except RuntimeError as error:  # NotImplementedError is one
        raise UnsupportedFormat(
            f"tensor {name!r}: {dtype_name(tensor.dtype)} can't be read: {error}"
        ) from error


_INFINITY: dict[torch.dtype, tuple[type[np.unsignedinteger], int]] = {
    torch.float64: (np.uint64, 0x7FF0_0000_0000_0000),
    torch.float32: (np.uint32, 0x7F80_0000),
    torch.float16: (np.uint16, 0x7C00),
    torch.bfloat16: (np.uint16, 0x7F80),
    torch.float8_e5m2: (np.uint8, 0x7C),
    torch.float8_e4m3fn: (np.uint8, 0x7F),
}
"""dtype → its bits as unsigned integers, and the least of them without a sign that is not finite."""
_CACHED = 1 << 19


def _all_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite.

    Neither would leave the sum finite, and sums take a tenth of the time of a look at each value. Where the sum of
    finite values overflows, their bits tell.
    """
    if tensor.dtype not in _INFINITY:
        return bool(tensor.float().isfinite().all())
    if tensor.element_size() > 1 and tensor.sum().isfinite():
        return True
    kind, infinity = _INFINITY[tensor.dtype]
    bits = tensor.contiguous().flatten().view(torch.uint8).numpy().view(kind)
    magnitude = kind(np.iinfo(kind).max >> 1)
    return all((bits[at : at + _CACHED] & magnitude).max() < infinity for at in range(0, len(bits), _CACHED))
