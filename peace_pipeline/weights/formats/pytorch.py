"""PyTorch files, by the weights-only unpickler alone: a file that needs anything else is not read."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.tensors import TensorInfo, dtype_name

_WRAPPERS = ("state_dict", "model_state_dict", "model", "weights")
_MAX_WRAPPERS = 4


class _File:
    def __init__(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        self.name, self.tensors = name, tensors

    def inventory(self) -> Iterable[TensorInfo]:
        for name, tensor in self.tensors.items():
            yield TensorInfo(name, tuple(tensor.shape), dtype_name(tensor.dtype))

    def read(self, name: str) -> torch.Tensor:
        return self.tensors[name].detach()


@contextmanager
def open_file(path: Path) -> Iterator[_File]:
    """Open a ``torch.save`` file, memory-mapped where it is a zip archive.

    Raises:
        UnreadableCheckpoint: where it is corrupt, no state dictionary, or would need code to be run.
    """
    try:
        if _is_torchscript(path):
            raise UnreadableCheckpoint(f"{path.name}: format torchscript is not supported yet")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnreadableCheckpoint:
        raise
    except pickle.UnpicklingError as error:
        raise UnreadableCheckpoint(f"{path.name}: {_refusal(str(error))}") from error
    except Exception as error:  # a corrupt pickle can raise anything; it is this one file's failure
        raise UnreadableCheckpoint(f"{path.name}: not a PyTorch file: {_first_line(error)}") from error
    tensors = _state_dict(content)
    for name, tensor in tensors.items():
        if not _is_plain(tensor):
            raise UnreadableCheckpoint(f"{path.name}: tensor {name!r} is not stored value by value")
    yield _File(path.name, tensors)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _refusal(message: str) -> str:
    match = re.search(
        r"[Uu]nsupported (?:global|GLOBAL|class|operand)[^\n]*?((?:GLOBAL )?[\w.]+\.[\w.]+)", message
    )
    what = match[1].removeprefix("GLOBAL ") if match else _first_line(message)
    return f"pickle needs {what}, which is never run"


def _first_line(error: object) -> str:
    return str(error).strip().split("\n")[0][:200]


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether the file holds every value: not for sparse or quantised tensors, or a few values repeated by strides."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _state_dict(content: Any) -> dict[str, torch.Tensor]:
    """Tensors of a possibly nested training checkpoint, without ``module.`` prefixes."""
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(content, Mapping):
            return {}
        content = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors
