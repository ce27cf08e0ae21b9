"""PyTorch's files: its zip archives, TorchScript's, and the pickles in a row of before version 1.6; other pickles that
hold tensors or NumPy's arrays, too (joblib's, scikit-learn's, Paddle's).

Their pickles are read as inert records (:mod:`pickles`), the values by position (:mod:`storages`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    NoTensors,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats import legacy, paddle, scikit_learn, zips
from peace_pipeline.weights.formats.pickled_tensors import tensor_of
from peace_pipeline.weights.formats.pickles import MAX_PICKLE, Object, UnfinishedPickle, loads
from peace_pipeline.weights.formats.state_dicts import (
    LIMITS,
    Limits,
    Module,
    ModuleOf,
    NamedItems,
    described,
    is_weight,
    network,
    python_module,
)
from peace_pipeline.weights.formats.storages import NoStorages, Storages, Tensor, Unreadable, View
from peace_pipeline.weights.formats.torchscript import Code
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.tensors import TensorInfo, dtype_name

_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_WINDOW = 1 << 20
"""Bytes that hold most pickles."""

_MAX_SHARING = 16
"""Bytes of all tensors for each of the file, or of a pickle: views of one storage must not claim large networks."""


class PyTorchFile:
    """An open file of PyTorch, local or not."""

    def __init__(self, blob: Blob, limits: Limits = LIMITS) -> None:
        content, self._storages, module_of = _open_zip(blob) if zips.is_zip(blob) else _open_pickle(blob)
        try:
            as_tensor = partial(tensor_of, storages=self._storages)
            found, self.averages = network(content, as_tensor, module_of, limits)
            found = paddle.as_pytorch(found, content, blob.name)
        except (DuplicateTensor, ExcessiveSize) as error:
            raise type(error)(f"{blob.name}: {error}") from error
        if isinstance(self._storages, NoStorages) and not any(map(is_weight, found.values())):
            kind = NoTensors if found else UnsupportedFormat
            raise kind(f"{blob.name}: a pickle without a network, but {described(content)}")
        if not found:
            raise NoTensors(f"{blob.name}: no network in it, but {described(content)}")
        self._tensors: dict[str, Tensor] = {}
        self._infos: list[TensorInfo] = []
        for name, (tensor, eps) in found.items():
            if isinstance(tensor, Unreadable):
                raise type(tensor.reason)(f"{blob.name}: tensor {name!r} {tensor.reason}")
            self._tensors[name] = tensor
            self._infos.append(TensorInfo(name, tensor.shape, dtype_name(tensor.dtype), tensor.stored, eps))
        size = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in self._tensors.values())
        if size > _MAX_SHARING * max(blob.size, MAX_PICKLE):
            raise ExcessiveSize(f"{blob.name}: tensors of {size:,} bytes in a file of {blob.size:,}")

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        return self._infos

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        return self._tensors[name].read(self._storages, rows)

    def places(self, name: str) -> list[Place]:
        """See :class:`ByPosition`."""
        tensor = self._tensors[name]
        if not isinstance(tensor, View):
            how = f"as {tensor.stored}" if tensor.stored else "within the pickle"
            raise UnsupportedFormat(f"{self._storages.blob.name}: tensor {name!r} is stored {how}")
        return [tensor.place(self._storages)]


@contextmanager
def open_file(path: Path, limits: Limits = LIMITS) -> Iterator[PyTorchFile]:
    """Open a file of ``torch.save`` or ``torch.jit.save``; ``limits`` are those of its pickle.

    Raises:
        UnreadableCheckpoint: where it is corrupt or of another kind, or no network is in it.
    """
    with local_blob(path) as blob:
        yield PyTorchFile(blob, limits)


Opened = tuple[Any, Storages, ModuleOf]
"""A file's pickled content, its storages, and what knows a module."""


class _ZipStorages:
    def __init__(self, blob: Blob, archive: zips.Archive, folder: str, byteorder: str) -> None:
        self.blob = blob
        self._archive, self._folder = archive, folder
        self.swapped = byteorder != sys.byteorder

    def _member(self, key: str) -> zips.Member:
        member = self._archive.members.get(self._folder + key)
        if member is None:
            raise CorruptFile("has no storage in the archive")
        return member

    def size(self, key: str) -> int:
        return self._member(key).size

    def origin(self, key: str) -> int:
        return self._archive.origin_of_stored(self._member(key))


def _open_zip(blob: Blob) -> Opened:
    archive = zips.Archive(blob)
    root = next(iter(archive.members), "").partition("/")[0]
    pickled = archive.members.get(f"{root}/data.pkl")
    if pickled is None:
        raise UnsupportedFormat(f"{blob.name}: a zip archive without a data.pkl, as none is of torch.save")
    byteorder = _byteorder(blob.name, archive, root)
    content = loads(blob.name, archive.content(pickled, MAX_PICKLE)).value
    is_script = f"{root}/constants.pkl" in archive.members
    module_of = Code(archive, root).module_of if is_script else _module_of
    return content, _ZipStorages(blob, archive, f"{root}/data/", byteorder), module_of


def _byteorder(file: str, archive: zips.Archive, root: str) -> str:
    """``little`` where the archive is from before it was recorded."""
    member = archive.members.get(f"{root}/byteorder")
    byteorder = archive.content(member, limit=10).decode("latin-1") if member else "little"
    if byteorder not in ("little", "big"):
        raise CorruptFile(f"{file}: byte order {byteorder!r}")
    return byteorder


def _open_pickle(blob: Blob) -> Opened:
    first = _first_pickle(blob)
    if first != legacy.MAGIC:
        return first, NoStorages(blob), _module_of
    content, storages = legacy.opened(blob)
    return content, storages, _module_of


def _module_of(record: Object, named: NamedItems) -> Module | None:
    return python_module(record, named) or scikit_learn.perceptron(record, named)


def _first_pickle(blob: Blob) -> Any:
    """What the file's first pickle says."""
    window = blob.read(0, min(_WINDOW, blob.size)).tobytes()
    if window.startswith(_TAR_MAGIC, _TAR_MAGIC_AT):
        raise UnsupportedFormat(f"{blob.name}: a tar archive, as of PyTorch 0.1 or NeMo: not read")
    try:
        try:
            return loads(blob.name, window).value
        except UnfinishedPickle:
            if blob.size <= len(window):
                raise
            return loads(blob.name, blob.read(0, min(MAX_PICKLE, blob.size)).tobytes()).value
    except UnfinishedPickle as error:
        if blob.size > MAX_PICKLE:
            raise ExcessiveSize(f"{blob.name}: a pickle of more than {MAX_PICKLE:,} bytes") from error
        raise CorruptFile(f"{blob.name}: not a PyTorch file") from error
    except UnsupportedFormat:
        raise
    except UnreadableCheckpoint as error:
        raise CorruptFile(f"{blob.name}: not a PyTorch file") from error
