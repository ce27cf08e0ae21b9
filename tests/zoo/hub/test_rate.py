"""The request rate: in no window too many, over all processes, and silence where the server asks for it."""

from __future__ import annotations

import heapq
import itertools
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peace_pipeline.zoo.hub import rate
from peace_pipeline.zoo.hub.rate import WINDOW, RateLimit


class Clock:
    """Time in which threads sleep one after another, so that minutes take no time."""

    def __init__(self) -> None:
        self.now = 1.7e9
        self.due: list[tuple[float, int, threading.Event]] = []
        self.order = itertools.count()
        self.idle = threading.Semaphore(0)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        awake = threading.Event()
        heapq.heappush(self.due, (self.now + seconds, next(self.order), awake))
        self.idle.release()
        awake.wait()

    def run(self, *tasks: Callable[[], None]) -> None:
        """Run the tasks at once, until all have ended."""
        for task in tasks:
            threading.Thread(target=self._run, args=(task,), daemon=True).start()
            self.idle.acquire()
        while self.due:
            self.now, _, awake = heapq.heappop(self.due)
            awake.set()
            self.idle.acquire()

    def _run(self, task: Callable[[], None]) -> None:
        task()
        self.idle.release()


class World:
    """Callers, each with a limit object of its own on one file, and a server that asks for silence."""

    def __init__(self, folder: Path, requests: int, clock: Clock) -> None:
        self.path, self.requests, self.clock = folder / "x.rate", requests, clock
        self.sent: list[float] = []
        self.silences: list[tuple[float, float]] = []

    def caller(self, gaps: list[float]) -> Callable[[], None]:
        """Makes a request after each gap."""

        def call() -> None:
            for gap in gaps:
                self.clock.sleep(gap)
                RateLimit(self.path, self.requests).wait()
                self.sent.append(self.clock.now)

        return call

    def server(self, silences: list[tuple[float, float]]) -> Callable[[], None]:
        """Asks for silences, each after a gap."""

        def ask() -> None:
            for gap, seconds in silences:
                self.clock.sleep(gap)
                RateLimit(self.path, self.requests).pause(seconds)
                self.silences.append((self.clock.now, self.clock.now + seconds))

        return ask


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate, "time", clock)
    return clock


GAPS = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.1, 3.0, 70.0, 400.0]), min_size=1, max_size=40)
SILENCES = st.lists(st.tuples(st.floats(0, 400), st.floats(0.5, 300)), max_size=3)


@example(requests=20, callers=[[0.0] * 40] * 2, silences=[])
@given(st.integers(1, 60), st.lists(GAPS, min_size=1, max_size=5), SILENCES)
def test_no_window_has_too_many_and_no_silence_is_broken(
    requests: int, callers: list[list[float]], silences: list[tuple[float, float]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(rate, "time", clock)
        world = World(Path(folder), requests, clock)
        clock.run(world.server(silences), *map(world.caller, callers))
    sent = sorted(world.sent)
    assert len(sent) == sum(map(len, callers))
    assert all(later - first > WINDOW - 1e-3 for first, later in zip(sent, sent[requests:], strict=False))
    assert not [(at, silence) for at in sent for silence in world.silences if silence[0] < at < silence[1]]


def test_the_rate_is_made_use_of(tmp_path: Path, clock: Clock) -> None:
    world = World(tmp_path, 500, clock)
    started = clock.now
    clock.run(*(world.caller([0.0] * 250) for _ in range(4)))
    assert world.sent[49] == started, "a tenth may come at once"
    assert clock.now - started < 2.2 * WINDOW


def test_a_clock_that_is_set_back_stops_nobody(tmp_path: Path, clock: Clock) -> None:
    world = World(tmp_path, 500, clock)
    clock.run(world.caller([0.0]))
    clock.now -= 86400
    started = clock.now
    clock.run(world.caller([0.0]))
    assert clock.now - started < 1


PROCESS = """
import json, sys, threading, time
from pathlib import Path
from peace_pipeline.zoo.hub import rate
window = float(sys.argv[2])
limit = rate.RateLimit(Path(sys.argv[1]), int(sys.argv[3]), window)
sent, end = [], time.time() + float(sys.argv[4])
def call():
    while time.time() < end:
        limit.wait()
        sent.append(time.time())
threads = [threading.Thread(target=call) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(sent))
"""


def test_two_processes_share_a_rate(tmp_path: Path) -> None:
    window, requests, seconds = 1.0, 40, 3.0
    command = [
        sys.executable,
        "-c",
        PROCESS,
        str(tmp_path / "x.rate"),
        *map(str, (window, requests, seconds)),
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    times = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    sent = sorted(itertools.chain(*times))
    assert all(times)
    assert len(sent) > 2 * requests
    jitter = 0.1  # of threads that wake late
    assert all(later - first > window - jitter for first, later in zip(sent, sent[requests:], strict=False))
