"""Keras 3 archives (``.keras``): a zip of the configuration and of an HDF5 file, which is read where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.formats.hdf5 import Hdf5File
from peace_pipeline.weights.formats.hdf5_process import open_reader, require_linux
from peace_pipeline.weights.formats.keras_config import configuration
from peace_pipeline.weights.formats.zips import Archive, Member
from peace_pipeline.weights.local_blob import LocalBlob, local_blob

MAX_CONFIG = 64 << 20
MAX_INFLATED = 512 << 20

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"


@contextmanager
def open_file(path: Path, max_inflated: int = MAX_INFLATED) -> Iterator[Hdf5File]:
    """Open a Keras archive. At most ``max_inflated`` bytes of weights that are compressed in it (Keras itself stores
    them) are inflated in memory.

    Raises:
        UnreadableCheckpoint: where it is damaged, claims what it can't hold, or has no weights in one HDF5 file.
    """
    require_linux(path.name)
    with ExitStack() as stack:
        blob = stack.enter_context(local_blob(path))
        archive = Archive(blob)
        for name in (_CONFIG, _WEIGHTS):
            if name not in archive.members:
                raise UnsupportedFormat(f"{path.name}: a Keras archive without {name}")
        config = archive.content(archive.members[_CONFIG], MAX_CONFIG)
        weights = archive.members[_WEIGHTS]
        descriptor, origin = stack.enter_context(_place(blob, archive, weights, max_inflated))
        reader = stack.enter_context(open_reader(path.name, descriptor, origin, weights.size))
        yield Hdf5File(reader, configuration(path.name, config))


@contextmanager
def _place(blob: LocalBlob, archive: Archive, member: Member, max_inflated: int) -> Iterator[tuple[int, int]]:
    """A file that holds a member as it is, and where: the archive itself, or one in memory."""
    if member.is_stored:
        yield blob.fileno(), archive.origin(member)
        return
    content = archive.content(member, max_inflated)
    with open(os.memfd_create(member.name), "wb", buffering=0) as file:
        file.write(content)
        del content
        yield file.fileno(), 0
