"""Counts the requests that this process sends, so that a run can report them."""

from __future__ import annotations

import threading
from collections import Counter

_sent: Counter[str] = Counter()
_lock = threading.Lock()


def count(method: str) -> None:
    """Take a request into account."""
    with _lock:
        _sent[method] += 1


def sent() -> Counter[str]:
    """Requests so far, by method, retries and redirects included."""
    with _lock:
        return Counter(_sent)
