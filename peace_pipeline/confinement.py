"""Processes for what strangers made and a C library handles, which it can crash or keep busy for ever.

A helper starts with the first task and has the library loaded; it forks a process for each task, which confines itself
and then has little memory and time and no right to open anything: neither files nor the network. When such a process
dies its task has failed, and nothing else happened.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peace_pipeline
from peace_pipeline.interrupts import spared

MOST_DESCRIPTORS = 250
"""Of a task; Linux passes no more at once."""
_MAX_REQUEST = 1 << 16


class Helper:
    """The process of a ``module`` that forks others; it ends when the last process that could ask it has."""

    def __init__(self, module: str) -> None:
        self._module, self._lock = module, threading.Lock()
        os.register_at_fork(after_in_child=self._unlock)
        self._requests: socket.socket | None = None

    def _unlock(self) -> None:
        """In a forked process no other thread is left that could."""
        self._lock = threading.Lock()

    def send(self, request: bytes, descriptors: list[int]) -> bool:
        """Ask for a process: one message, so that threads and forked processes don't disturb each other. False where
        the helper can't be started.

        Raises:
            OSError: where there are too many open files or processes.
        """
        with self._lock:
            for requests in (self._requests, None):
                requests = requests or self._start()
                try:
                    socket.send_fds(requests, [request], descriptors)
                except OSError:  # it was killed
                    self._requests = None
                    continue
                return True
        return False

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            paths = [str(Path(peace_pipeline.__file__).parent.parent), *filter(None, sys.path)]
            threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | threads
            with spared():
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", self._module],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=environment,
                )
        atexit.register(_stop, ours, process)
        self._requests = ours
        return ours


def _stop(requests: socket.socket, process: subprocess.Popen[Any]) -> None:
    requests.shutdown(socket.SHUT_RDWR)  # processes forked from this one may have it open, too
    requests.close()
    process.wait()


def serve(handle: Callable[[bytes, list[int]], None]) -> None:
    """What a helper does: fork a process that handles it for each request on standard input, with the descriptors that
    came along, until the other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # they leave no zombies
    requests = socket.socket(fileno=0)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _MAX_REQUEST, MOST_DESCRIPTORS)
        if not request:
            return
        if os.fork() == 0:
            try:
                requests.close()
                handle(request, descriptors)
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def confine(kind: int, memory: int) -> None:
    """From now on this process opens and writes nothing, and has at most so many bytes of memory, of the ``kind`` that
    a constant of :mod:`resource` names; lower limits stay."""
    for limit, value in ((kind, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(limit)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def allow(seconds: float) -> None:
    """End this process, whatever the library does, after so much more computing; waiting for a disk is none."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
