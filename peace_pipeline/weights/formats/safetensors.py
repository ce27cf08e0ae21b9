"""safetensors, memory-mapped: the header is checked by the library, tensors are read when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from peace_pipeline.weights.checkpoint import TensorInfo, UnreadableCheckpoint

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


class _File:
    def __init__(self, name: str, handle: Any) -> None:
        self.name, self.handle = name, handle

    def inventory(self) -> Iterable[TensorInfo]:
        for name in self.handle.keys():  # noqa: SIM118 (not a mapping)
            part = self.handle.get_slice(name)
            dtype = part.get_dtype()
            yield TensorInfo(name, tuple(part.get_shape()), _DTYPES.get(dtype, dtype.lower()))

    def read(self, name: str) -> torch.Tensor:
        try:
            return self.handle.get_tensor(name)
        except (SafetensorError, RuntimeError) as error:
            raise UnreadableCheckpoint(f"{self.name}: tensor {name!r}: {error}") from error


@contextmanager
def open_file(path: Path) -> Iterator[_File]:
    """Open a safetensors file.

    Raises:
        UnreadableCheckpoint: where the header or the length of the file is wrong.
    """
    try:
        handle = safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise UnreadableCheckpoint(f"{path.name}: not a whole safetensors file: {error}") from error
    with handle:
        yield _File(path.name, handle)
