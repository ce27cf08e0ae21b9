"""Who is told how far a long piece of work has come: nobody, unless a command line listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
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
    """A callback (done, total) for the work that ``description`` names; a total of 0 is unknown."""
    return _listener(description) if _listener else None
