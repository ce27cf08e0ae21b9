"""What can go wrong on the way: faults at random or to order, and a real rate limit."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("429", "504", "cut", "wrong_bytes", "slow")


@dataclass(frozen=True)
class Fault:
    """One fault; ``kind`` is one of ``KINDS``.

    ``seconds`` is what a 429 asks for and how long a slow answer takes. ``sent`` is the share of the body that a
    cut lets through; 0 closes the connection without a status line. Wrong bytes befall weight files alone.
    """

    kind: str
    seconds: float = 0.05
    sent: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")


class Faults:
    """Random faults at a rate.

    The n-th request for a path has the same fate in every run of a seed, in whatever order threads ask.
    """

    def __init__(
        self, seed: int = 0, rate: float = 0.1, kinds: Sequence[str] = KINDS, seconds: float = 0.05
    ) -> None:
        self.seed, self.rate, self.faults = seed, rate, [Fault(kind, seconds) for kind in kinds]
        self._asked: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def draw(self, method: str, path: str) -> Fault | None:
        """The fault of this request, if it has one."""
        with self._lock:
            self._asked[method, path] += 1
            chance = random.Random(f"{self.seed} {method} {path} {self._asked[method, path]}")
        if chance.random() >= self.rate:
            return None
        fault = chance.choice(self.faults)
        return Fault("cut", fault.seconds, sent=0) if fault.kind == "cut" and chance.random() < 0.5 else fault


class RateLimit:
    """At most so many requests in each window of so many seconds, as on the Hub."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.requests, self.seconds = requests, seconds
        self._opened, self._taken = time.monotonic(), 0
        self._lock = threading.Lock()

    def take(self) -> tuple[int, float]:
        """Count a request; how many are left (negative: one too many) and the seconds to the next window."""
        with self._lock:
            now = time.monotonic()
            if now - self._opened >= self.seconds:
                self._opened, self._taken = now, 0
            self._taken += 1
            return self.requests - self._taken, self._opened + self.seconds - now


def rate_headers(
    path: str, left: int, seconds: float, limit: tuple[int, float] = (500, 300)
) -> dict[str, str]:
    """The headers that tell where one stands; whole seconds, rounded down, since the client reads no others."""
    resource = "api" if path.startswith("/api/") else "resolvers"
    headers = {
        "RateLimit": f'"{resource}";r={max(left, 0)};t={int(seconds)}',
        "RateLimit-Policy": f'"fixed window";"{resource}";q={limit[0]};w={int(limit[1])}',
    }
    return headers | {"Retry-After": str(int(seconds))} if left < 0 else headers
