"""The registry of formats: which module reads the weight files of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.tensors import TensorFile
from peace_pipeline.zoo import formats, signatures

Reader = Callable[[Path], AbstractContextManager[TensorFile]]

READERS: dict[str, str] = {
    "safetensors": "peace_pipeline.weights.formats.safetensors",
    "pytorch": "peace_pipeline.weights.formats.pytorch",
    "onnx": "peace_pipeline.weights.formats.onnx",
    "torchscript": "peace_pipeline.weights.formats.pytorch",
    "hdf5": "peace_pipeline.weights.formats.hdf5",
    "keras": "peace_pipeline.weights.formats.keras",
    "gguf": "peace_pipeline.weights.formats.gguf",
    "npz": "peace_pipeline.weights.formats.npz",
    "flax": "peace_pipeline.weights.formats.flax",
    "fasttext": "peace_pipeline.weights.formats.fasttext",
    "stable_baselines3": "peace_pipeline.weights.formats.stable_baselines3",
}
"""Format → the module whose ``open_file`` reads it; imported when a file of that format is opened."""


_PART = ".distcp"


def open_file(path: Path) -> AbstractContextManager[TensorFile]:
    """Open one weight file by the reader of its format, which its content tells, or else its name.

    Raises:
        UnreadableCheckpoint: where it can't be read.
    """
    with local_blob(path) as blob:
        if path.suffix.lower() == _PART:  # each is a file of torch.save, of one process
            raise UnsupportedFormat(f"{blob.name}: {signatures.foreign_by_name(blob.name)}: not read")
        kind = format_of(blob)
        if path.suffix.lower() == ".bin" and path.with_suffix(".xml").exists():
            raise UnsupportedFormat(f"{blob.name}: weights of OpenVINO: not read")
    reader: Reader = import_module(READERS[kind]).open_file
    return reader(path)


def format_of(blob: Blob) -> str:
    """The key among the readers of the format that a file is in.

    Raises:
        UnsupportedFormat: where none reads it, with what it is as far as that is known.
    """
    head = blob.read(0, min(signatures.HEAD, blob.size)).tobytes()
    kind = signatures.format_by_content(head, blob.size)
    if kind in READERS:
        return kind
    what = signatures.foreign(head) or signatures.foreign_by_name(blob.name)
    if what:
        raise UnsupportedFormat(f"{blob.name}: {what}: not read")
    kind = kind or formats.format_of(blob.name)
    if kind == formats.UNKNOWN:
        raise UnsupportedFormat(f"{blob.name}: not a weight file")
    if kind not in READERS:
        raise UnsupportedFormat(f"{blob.name}: format {kind}: not read")
    return kind
