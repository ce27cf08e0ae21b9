"""The helper process of ``hdf5_process``: forks a confined reader for each HDF5 file that it is handed."""

from __future__ import annotations

import encodings.ascii  # noqa: F401  (h5py needs it, and a reader can open no file)
import json
import mmap
import resource
import socket

from peace_pipeline.confinement import allow, confine, serve
from peace_pipeline.weights.errors import ExcessiveSize, UnreadableCheckpoint
from peace_pipeline.weights.formats.hdf5_process import ANSWER, LENGTH, MAX_ANSWER, PIECE
from peace_pipeline.weights.formats.hdf5_store import Hdf5Store

MAX_SECONDS = 2
"""Of computing, for a thousand objects or a piece of values."""
MAX_MEMORY = 1 << 30


def main() -> None:
    """Fork a reader for each file until the other end of standard input is closed."""
    serve(_handle)


def _handle(request: bytes, descriptors: list[int]) -> None:
    descriptor, link, area = descriptors
    with mmap.mmap(area, PIECE) as shared, socket.socket(fileno=link) as connection:
        confine(resource.RLIMIT_DATA, MAX_MEMORY)
        _serve(request, descriptor, connection, shared)


def _serve(request: bytes, descriptor: int, connection: socket.socket, shared: mmap.mmap) -> None:
    """Say what the file holds, then read what is asked for into the shared memory, until the other end is closed."""
    name, origin, size = json.loads(request)
    try:
        allow(MAX_SECONDS)
        store = Hdf5Store(name, descriptor, origin, size, lambda: allow(MAX_SECONDS))
        _send(connection, True, _contents(store))
        while header := connection.recv(LENGTH.size, socket.MSG_WAITALL):
            path, box = json.loads(connection.recv(LENGTH.unpack(header)[0], socket.MSG_WAITALL))
            allow(MAX_SECONDS)
            store.read(path, tuple(map(tuple, box)), shared)
            _send(connection, True, b"")
    except UnreadableCheckpoint as error:
        _send(connection, False, json.dumps([type(error).__name__, str(error)]).encode())


def _contents(store: Hdf5Store) -> bytes:
    contents = {
        "datasets": [[path, dataset.shape, dataset.type] for path, dataset in store.datasets.items()],
        "texts": [[*key, text] for key, text in store.texts.items()],
    }
    answer = json.dumps(contents).encode()
    if len(answer) > MAX_ANSWER:
        raise ExcessiveSize(f"{store.name}: {len(answer):,} bytes of names and configuration")
    return answer


def _send(connection: socket.socket, sound: bool, answer: bytes) -> None:
    connection.sendall(ANSWER.pack(sound, len(answer)) + answer)


if __name__ == "__main__":
    main()
