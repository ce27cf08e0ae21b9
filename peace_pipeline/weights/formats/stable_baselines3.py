"""Archives of stable-baselines3: the policy in them is a file of PyTorch. They are read, never overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from peace_pipeline.weights.errors import FileChanged, UnsupportedFormat
from peace_pipeline.weights.formats import zips
from peace_pipeline.weights.formats.pytorch import PyTorchFile
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.tensors import TensorInfo

_POLICY, _VERSION = "policy.pth", "_stable_baselines3_version"


class PolicyFile:
    """The policy in an open archive.

    Raises:
        UnsupportedFormat: where the archive is none of stable-baselines3.
        UnreadableCheckpoint: where the policy can't be read.
    """

    def __init__(self, blob: Blob) -> None:
        members = zips.Archive(blob).members if zips.is_zip(blob) else {}
        if not {_POLICY, _VERSION} <= members.keys():
            raise UnsupportedFormat(f"{blob.name}: no archive of stable-baselines3")
        origin = zips.Archive(blob).origin_of_stored(members[_POLICY])
        self._file = PyTorchFile(_Part(blob, origin, members[_POLICY].size))

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        return self._file.inventory()

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        return self._file.read(name, rows)


class _Part:
    """Bytes of a file as a :class:`Blob` of their own."""

    def __init__(self, blob: Blob, origin: int, size: int) -> None:
        self.name, self.size = f"{blob.name}: {_POLICY}", size
        self._blob, self._origin = blob, origin

    def read(self, start: int, stop: int) -> np.ndarray:
        """See :class:`Blob`."""
        if stop > self.size:
            raise FileChanged(f"{self.name}: shorter than it says")
        return self._blob.read(self._origin + start, self._origin + stop)


@contextmanager
def open_file(path: Path) -> Iterator[PolicyFile]:
    """Open an archive that ``model.save`` of stable-baselines3 wrote.

    Raises:
        UnreadableCheckpoint: where it is corrupt or of another kind.
    """
    with local_blob(path) as blob:
        yield PolicyFile(blob)
