"""A checkpoint as named tensors, read one at a time; one reader a format, in a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch

from peace_pipeline.zoo import files


class UnreadableCheckpoint(Exception):
    """A checkpoint that can't be read, with the reason; the model becomes a ``skipped`` record."""


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of one tensor (``float32``, ``int64``, …)."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class TensorFile(Protocol):
    """An open weight file: its tensors without their data, and one tensor's data on request."""

    def inventory(self) -> Iterable[TensorInfo]: ...

    def read(self, name: str) -> torch.Tensor: ...


Reader = Callable[[Path], AbstractContextManager[TensorFile]]

READERS: dict[str, str] = {
    "safetensors": "peace_pipeline.weights.formats.safetensors",
    "pytorch": "peace_pipeline.weights.formats.pytorch",
}
"""Format → the module whose ``open_file`` reads it; imported when a file of that format is opened."""


class Checkpoint:
    """The tensors of a model, which may be spread over several files (shards)."""

    def __init__(self, parts: Mapping[str, TensorFile]) -> None:
        self.tensors: dict[str, TensorInfo] = {}
        self._owner: dict[str, TensorFile] = {}
        for path, part in parts.items():
            for info in part.inventory():
                if info.name.encode(errors="replace").decode() != info.name:
                    raise UnreadableCheckpoint(f"{path}: tensor name {info.name!r} is no text")
                if info.name in self.tensors:
                    raise UnreadableCheckpoint(f"{path}: tensor {info.name!r} is in another file too")
                self.tensors[info.name] = info
                self._owner[info.name] = part

    def read(self, name: str, dtype: torch.dtype | None = torch.float32) -> torch.Tensor:
        """One tensor, converted to ``dtype`` (``None`` keeps its own).

        Raises:
            UnreadableCheckpoint: where a floating tensor holds NaN or infinity.
        """
        tensor = self._owner[name].read(name)
        try:
            if tensor.is_floating_point() and not _all_finite(tensor):
                raise UnreadableCheckpoint(f"tensor {name!r} holds values that are not finite")
            return tensor if dtype is None else tensor.to(dtype)
        except RuntimeError as error:  # NotImplementedError is one
            raise UnreadableCheckpoint(
                f"tensor {name!r}: {dtype_name(tensor.dtype)} can't be read: {error}"
            ) from error

    @property
    def parameters(self) -> int:
        """Number of floating-point values."""
        floating = (info for info in self.tensors.values() if "float" in info.dtype)
        return sum(torch.Size(info.shape).numel() for info in floating)


@contextmanager
def open_checkpoint(paths: Iterable[Path]) -> Iterator[Checkpoint]:
    """Open the weight files of one model.

    Raises:
        UnreadableCheckpoint: where a file is of an unknown or not yet supported format, corrupt, truncated,
            would need code to be run, or holds no floating-point tensor.
    """
    with ExitStack() as stack:
        parts = {path.name: stack.enter_context(_open(path)) for path in paths}
        checkpoint = Checkpoint(parts)
        if not checkpoint.parameters:
            raise UnreadableCheckpoint("no floating-point tensors")
        yield checkpoint


def _open(path: Path) -> AbstractContextManager[TensorFile]:
    if not files.is_weights(path.name):
        raise UnreadableCheckpoint(f"{path.name}: not a weight file")
    kind = files.format_of(path.name)
    if kind not in READERS:
        raise UnreadableCheckpoint(f"{path.name}: format {kind} is not supported yet")
    reader: Reader = import_module(READERS[kind]).open_file
    return reader(path)


def _all_finite(tensor: torch.Tensor) -> bool:
    return bool((tensor if tensor.element_size() > 1 else tensor.float()).isfinite().all())


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` → ``float32``."""
    return str(dtype).removeprefix("torch.")
