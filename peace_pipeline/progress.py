"""Who is told how far a long piece of work has come: nobody, unless a command line listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """A callback: so much is ``done`` of ``total`` (0: unknown), and a few words on how it goes."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


Listener = Callable[[str], Progress]

_listener: Listener | None = None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While the block runs, ``listener`` is asked for a callback whenever a piece of work begins."""
    global _listener
    previous, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = previous


def track(description: str) -> Progress | None:
    """A callback for the work that ``description`` names."""
    return _listener(description) if _listener else None


def in_lines(description: str, say: Callable[[str], None], every: float = 30.0) -> Progress:
    """A callback that says a line after each ``every`` seconds of the work; what is waited for, whose extent isn't
    known, it says once and at once."""
    last, noted = time.monotonic(), ""

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last, noted
        waits = bool(note) and not total
        if note != noted if waits else time.monotonic() - last >= every:
            last = time.monotonic()
            say(" · ".join(filter(None, (description, f"{done} of {total}" if total else "", note))))
        noted = note

    return report
