"""The registry of formats: which module reads the weight files of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.tensors import TensorFile
from peace_pipeline.zoo import files

Reader = Callable[[Path], AbstractContextManager[TensorFile]]

READERS: dict[str, str] = {
    "safetensors": "peace_pipeline.weights.formats.safetensors",
    "pytorch": "peace_pipeline.weights.formats.pytorch",
    "onnx": "peace_pipeline.weights.formats.onnx",
    "torchscript": "peace_pipeline.weights.formats.pytorch",
    "hdf5": "peace_pipeline.weights.formats.hdf5",
    "keras": "peace_pipeline.weights.formats.keras",
    "gguf": "peace_pipeline.weights.formats.gguf",
}
"""Format → the module whose ``open_file`` reads it; imported when a file of that format is opened."""

_BY_NAME_ALONE = {".zip": "peace_pipeline.weights.formats.stable_baselines3"}
"""Suffix → the module that reads such files where one is asked for; in a folder they may be anything."""


def open_file(path: Path) -> AbstractContextManager[TensorFile]:
    """Open one weight file by the reader of its format.

    Raises:
        UnreadableCheckpoint: where it can't be read.
    """
    reader: Reader = import_module(_module(path)).open_file
    return reader(path)


def _module(path: Path) -> str:
    """The module that reads a file."""
    if found := _BY_NAME_ALONE.get(path.suffix.lower()):
        return found
    if not files.is_weights(path.name):
        raise UnsupportedFormat(f"{path.name}: not a weight file")
    kind = files.format_of(path.name)
    if kind not in READERS:
        raise UnsupportedFormat(f"{path.name}: format {kind} is not supported yet")
    return READERS[kind]
