"""What all requests of this process have in common: they are counted, and servers say when to come again."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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


def retry_after(value: str) -> float | None:
    """Seconds that a server's ``Retry-After`` asks to wait (a number, or a date); ``None`` where it is neither."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
