"""Files of this machine, by position."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from peace_pipeline.weights.errors import CorruptFile, FileChanged, ForbiddenPath, UnreadableCheckpoint
from peace_pipeline.zoo.blob import Blob

__all__ = ["Blob", "Bytes", "LocalBlob", "OverwritableBlob", "local_blob", "overwritable_blob"]


class OverwritableBlob(Blob, Protocol):
    """A file whose bytes can be overwritten; its size stays."""

    def write(self, start: int, data: np.ndarray) -> None:
        """Overwrite the bytes from ``start`` on (uint8)."""


class LocalBlob:
    """A regular file on this machine, as a :class:`Blob`.

    Its pages are read, not mapped: mapped ones count as this process's memory.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.name, self._descriptor = _shown(path), descriptor
        self.size = os.fstat(descriptor).st_size

    def fileno(self) -> int:
        """The open file's descriptor."""
        return self._descriptor

    def read(self, start: int, stop: int) -> np.ndarray:
        """See :class:`Blob`.

        Raises:
            FileChanged: where the file no longer has these bytes.
        """
        buffer = np.empty(stop - start, np.uint8)
        view, done = buffer.data, 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], start + done)
            if not count:
                raise FileChanged(f"{self.name}: became shorter while it was read")
            done += count
        return buffer


class Bytes:
    """Bytes in memory, those at the beginning of ``size`` (by default all), as a :class:`Blob`."""

    def __init__(self, name: str, content: bytes, size: int | None = None) -> None:
        self.name, self._content = name, np.frombuffer(content, np.uint8)
        self.size = len(content) if size is None else size

    def read(self, start: int, stop: int) -> np.ndarray:
        """See :class:`Blob`.

        Raises:
            CorruptFile: where they are not among those that are there.
        """
        if stop > len(self._content):
            raise CorruptFile(f"{self.name}: is cut off")
        return self._content[start:stop].copy()


def _shown(path: Path) -> str:
    """A file's name on one line."""
    return path.name if path.name.isprintable() else ascii(path.name)


@contextmanager
def local_blob(path: Path) -> Iterator[LocalBlob]:
    """Open a file of this machine.

    Raises:
        ForbiddenPath: where it is no regular file (nor a link to one).
        UnreadableCheckpoint: where it can't be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    except OSError as error:
        raise UnreadableCheckpoint(f"{_shown(path)}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ForbiddenPath(f"{_shown(path)}: not a regular file")
        yield LocalBlob(path, descriptor)
    finally:
        os.close(descriptor)


class _OverwritableFile(LocalBlob):
    def write(self, start: int, data: np.ndarray) -> None:
        """See :class:`OverwritableBlob`."""
        view, done = data.data, 0
        while done < len(view):
            done += os.pwrite(self.fileno(), view[done:], start + done)


@contextmanager
def overwritable_blob(path: Path) -> Iterator[OverwritableBlob]:
    """Open a file of this machine that is ours, to overwrite some of its bytes.

    Raises:
        OSError: where it can't be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield _OverwritableFile(path, descriptor)
    finally:
        os.close(descriptor)
