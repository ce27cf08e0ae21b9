"""The helper process of ``hdf5_process``: forks a confined reader for each HDF5 file that it is handed."""

from __future__ import annotations

import encodings.ascii  # noqa: F401  (h5py needs it, and a reader can open no file)
import json
import mmap
import os
import resource
import signal
import socket

from peace_pipeline.weights.errors import ExcessiveSize, UnreadableCheckpoint
from peace_pipeline.weights.formats.hdf5_process import ANSWER, LENGTH, MAX_ANSWER, PIECE
from peace_pipeline.weights.formats.hdf5_store import Hdf5Store

MAX_SECONDS = 2
"""Of computing, for a thousand objects or a piece of values."""
MAX_MEMORY = 1 << 30

_MAX_REQUEST = 1 << 16


def main() -> None:
    """Fork a reader for each request on standard input until its other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # readers leave no zombies
    requests = socket.socket(fileno=0)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _MAX_REQUEST, 3)
        if not request:
            return
        if os.fork() == 0:
            try:
                requests.close()
                descriptor, link, area = descriptors
                with mmap.mmap(area, PIECE) as shared, socket.socket(fileno=link) as connection:
                    _confine()
                    _serve(request, descriptor, connection, shared)
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _confine() -> None:
    for limit, value in (
        (resource.RLIMIT_DATA, MAX_MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(limit)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # it has what it needs, and can open nothing else


def _serve(request: bytes, descriptor: int, connection: socket.socket, shared: mmap.mmap) -> None:
    """Say what the file holds, then read what is asked for into the shared memory, until the other end is closed."""
    name, origin, size = json.loads(request)
    try:
        _allow(MAX_SECONDS)
        store = Hdf5Store(name, descriptor, origin, size, lambda: _allow(MAX_SECONDS))
        _send(connection, True, _contents(store))
        while header := connection.recv(LENGTH.size, socket.MSG_WAITALL):
            path, box = json.loads(connection.recv(LENGTH.unpack(header)[0], socket.MSG_WAITALL))
            _allow(MAX_SECONDS)
            store.read(path, tuple(map(tuple, box)), shared)
            _send(connection, True, b"")
    except UnreadableCheckpoint as error:
        _send(connection, False, json.dumps([type(error).__name__, str(error)]).encode())


def _allow(seconds: float) -> None:
    """End this process, whatever the library does, after so much more computing; waiting for a disk is none."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


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
