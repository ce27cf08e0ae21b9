"""HDF5 files are read by a confined process apart (``hdf5_helper``): the library is C, and a damaged file can crash it
or keep it busy for ever. When a reader dies that file is corrupt, and nothing else happened.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from peace_pipeline.confinement import Helper
from peace_pipeline.weights import errors

BFLOAT16 = "bfloat16"
PIECE = 16 << 20
"""Bytes that a reader is asked for at once."""
MAX_ANSWER = 64 << 20
"""Bytes of the names, shapes and texts of a file."""

LENGTH = struct.Struct("<Q")
"""What comes before a request (JSON)."""
ANSWER = struct.Struct("<?Q")
"""What comes before an answer: whether it is one or an error, both in JSON, and its length."""

Box = tuple[tuple[int, int], ...]
"""[start, stop) on each axis."""


@dataclass(frozen=True)
class Dataset:
    """A dataset of numbers. ``type`` is a numpy name, or ``bfloat16``, which is read as its bits (uint16)."""

    shape: tuple[int, ...]
    type: str

    @property
    def dtype(self) -> np.dtype:
        """What reading gives."""
        return np.dtype(np.uint16 if self.type == BFLOAT16 else self.type)


class Hdf5Reader:
    """An HDF5 file that another process has open, which puts what it reads into memory that both share; for one thread.

    ``datasets`` is path → dataset; ``texts`` is (path, attribute) → text, for the attributes that describe a network.
    """

    def __init__(self, name: str, connection: socket.socket, shared: mmap.mmap) -> None:
        self.name, self._connection, self._shared = name, connection, shared
        answer = json.loads(self._answer())
        self.datasets = {path: Dataset(tuple(shape), kind) for path, shape, kind in answer["datasets"]}
        self.texts = {(path, key): text for path, key, text in answer["texts"]}

    def read(self, path: str, box: Box) -> np.ndarray:
        """The values of a dataset within a box (bfloat16 as its bits).

        Raises:
            UnreadableCheckpoint: where they can't be had.
        """
        dtype = self.datasets[path].dtype
        values = np.empty([stop - start for start, stop in box], dtype)
        flat, done = values.reshape(-1), 0
        for piece in _pieces(box, dtype.itemsize):
            request = json.dumps([path, piece]).encode()
            count = math.prod(stop - start for start, stop in piece)
            try:
                self._connection.sendall(LENGTH.pack(len(request)) + request)
            except OSError:
                self._failed()
            self._answer()
            flat[done : done + count] = np.frombuffer(self._shared, dtype, count)
            done += count
        return values

    def _answer(self) -> bytes:
        """What the reader says, which is nothing where it has read a piece."""
        sound, length = ANSWER.unpack(self._receive(ANSWER.size))
        if length > MAX_ANSWER:
            self._failed()
        answer = self._receive(length)
        if not sound:
            kind, reason = json.loads(answer)
            raise getattr(errors, kind)(reason)
        return answer

    def _receive(self, length: int) -> bytes:
        answer = bytearray(length)
        done = 0
        while done < length:
            try:
                count = self._connection.recv_into(memoryview(answer)[done:])
            except OSError:
                count = 0
            if not count:
                self._failed()
            done += count
        return bytes(answer)

    def _failed(self) -> NoReturn:
        raise errors.CorruptFile(f"{self.name}: the HDF5 library failed on it")


def require_linux(name: str) -> None:
    """HDF5 is read through files in memory, which other systems lack.

    Raises:
        UnsupportedFormat: elsewhere.
    """
    if sys.platform != "linux":
        raise errors.UnsupportedFormat(f"{name}: HDF5 files are read on Linux alone")


@contextmanager
def open_reader(name: str, descriptor: int, origin: int, size: int) -> Iterator[Hdf5Reader]:
    """Read the HDF5 file that begins at ``origin`` of an open file and has ``size`` bytes.

    Raises:
        UnreadableCheckpoint: where it is damaged, claims what it can't hold, or refers to other files.
    """
    require_linux(name)
    with ExitStack() as stack:
        try:
            area = os.memfd_create("values", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            stack.enter_context(os.fdopen(area, "wb"))
            os.ftruncate(area, PIECE)
            # or a reader could make this process fault
            fcntl.fcntl(area, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            shared = stack.enter_context(mmap.mmap(area, PIECE))
            ours, theirs = map(stack.enter_context, socket.socketpair())
            request = json.dumps([name, origin, size]).encode()
            if not _helper.send(request, [descriptor, theirs.fileno(), area]):
                raise errors.UnreadableCheckpoint("the process that reads HDF5 files can't be started")
            theirs.close()  # so that ours tells when the reader dies
        except OSError as error:
            raise errors.UnreadableCheckpoint(f"{name}: no process can read it: {error.strerror}") from error
        yield Hdf5Reader(name, ours, shared)


_helper = Helper("peace_pipeline.weights.formats.hdf5_helper")


def _pieces(box: Box, width: int) -> Iterator[Box]:
    """A box in parts of at most ``PIECE`` bytes that follow each other in memory; none where it is empty."""
    count = math.prod(stop - start for start, stop in box)
    axis = next((axis for axis, (start, stop) in enumerate(box) if stop - start > 1), None)
    if axis is None or count * width <= PIECE:
        if count:
            yield box
        return
    start, stop = box[axis]
    step = max(PIECE * (stop - start) // (count * width), 1)
    for place in range(start, stop, step):
        yield from _pieces((*box[:axis], (place, min(place + step, stop)), *box[axis + 1 :]), width)
