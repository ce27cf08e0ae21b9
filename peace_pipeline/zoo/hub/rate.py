"""A request rate that holds over all processes of this machine, and over restarts."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

WINDOW = 300.0
"""Seconds over which the Hub counts requests."""
ANONYMOUS, SIGNED_IN = (500, 3000), (1000, 5000)
"""Requests that the Hub allows in them: calls of its API, and of its file resolver."""

LONGEST_PAUSE = 600.0
_BURST = 0.1
_STATE = struct.Struct("dd")  # tokens, and when they were counted: a time to come while there is a pause


class RateLimit:
    """At most ``requests`` in any ``window`` seconds: a token bucket, kept in the file ``path``.

    A tenth of the requests may come at once; the others are spread evenly.
    """

    def __init__(self, path: Path, requests: int, window: float = WINDOW) -> None:
        self.capacity = max(1.0, requests * _BURST)
        self.refill = max(requests - self.capacity, 0.5) / window
        path.parent.mkdir(parents=True, exist_ok=True)
        self.state = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        self.threads, self.processes = threading.Lock(), FileLock(path.with_suffix(".lock"))

    def wait(self) -> None:
        """Return when a request may be made; waiting callers are served in turn."""
        delay = self._take()
        while delay > 0:
            time.sleep(delay)
            delay = self._pause()

    def pause(self, seconds: float) -> None:
        """Let nobody make a request for ``seconds``, as the server asked, those who wait already included."""
        with self._alone():
            tokens, counted = self._tokens()
            self._write(tokens, max(counted, time.time() + min(seconds, LONGEST_PAUSE)))

    def _take(self) -> float:
        """Take a token, of the future where need be; returns how long it is until then."""
        with self._alone():
            tokens, counted = self._tokens()
            self._write(tokens - 1, counted)
        return max(0.0, 1 - tokens) / self.refill + counted - time.time()

    def _pause(self) -> float:
        """For how long there is still a pause."""
        with self._alone():
            return self._tokens()[1] - time.time()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self.threads, self.processes.acquire(poll_interval=0.002):
            yield

    def _tokens(self) -> tuple[float, float]:
        """The tokens, and the time as of which they are there; nothing is earned during a pause."""
        now = time.time()
        try:
            tokens, counted = _STATE.unpack(os.pread(self.state.fileno(), _STATE.size, 0))
        except struct.error:
            return self.capacity, now
        if counted > now + LONGEST_PAUSE:  # the clock was set back
            counted = now
        earned = max(0.0, now - counted) * self.refill
        return min(self.capacity, tokens + earned), max(counted, now)

    def _write(self, tokens: float, counted: float) -> None:
        os.pwrite(self.state.fileno(), _STATE.pack(tokens, counted), 0)
