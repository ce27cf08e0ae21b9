"""Why a checkpoint can't be read: one class a kind of reason. Each makes one ``skipped`` record, and stops no batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UnreadableCheckpoint(Exception):
    """A checkpoint that can't be read, with the reason."""


class UnsupportedFormat(UnreadableCheckpoint):
    """A format, type or quantisation that has no reader."""


class CorruptFile(UnreadableCheckpoint):
    """A file that is truncated, or says things of itself that can't all be true."""


class FileChanged(UnreadableCheckpoint):
    """A file that became another while it was read, or since the crawl."""


class ForbiddenPath(UnreadableCheckpoint):
    """A file that names another one outside its own folder, or that is not a regular file."""


class ExcessiveSize(UnreadableCheckpoint):
    """More tensors, dimensions or bytes than any network needs, or than the file could really hold."""


class DuplicateTensor(UnreadableCheckpoint):
    """Two tensors of one name."""


class NotFinite(UnreadableCheckpoint):
    """Weights that are NaN or infinite."""


class NoTensors(UnreadableCheckpoint):
    """A file without any floating-point tensor."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Makes a ``MemoryError`` of what torch raises where it gets no memory."""
    try:
        yield
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError from error
        raise
