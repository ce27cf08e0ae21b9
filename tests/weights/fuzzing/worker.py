"""The process that reads damaged files: within a limit of memory and of time for each, and under a watch."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.formats.registry import READERS
from peace_pipeline.weights.tensors import dtype_name
from tests.weights.fuzzing.edits import mutated
from tests.weights.fuzzing.mutations import STRUCTURES
from tests.weights.fuzzing.watch import Watch

MAX_MEMORY = 1 << 30
"""Bytes above what the process has when the reader is loaded."""
MAX_SECONDS = 5
READ = "read"

BESIDE = "data.bin"
"""A file of small numbers that lies beside every input, for formats that refer to others."""

Read = Callable[[Path], None]


@dataclass(frozen=True)
class Job:
    """Inputs ``start`` up to ``stop`` of a seed, made from a format's samples; ``seconds`` is the time for each."""

    format: str
    suffix: str
    samples: Sequence[bytes]
    seed: int
    start: int
    stop: int
    read: Read
    seconds: float

    def input(self, index: int) -> bytes:
        """One input."""
        return mutated(
            Random(f"{self.seed}/{self.format}/{index}"), self.samples, STRUCTURES.get(self.format)
        )


@dataclass(frozen=True)
class Outcome:
    """What came of an input: ``read``, or the class of the error that refused it; what it did wrong, if anything.

    ``peak`` is the most memory, in bytes above the baseline, that the worker had till then.
    """

    index: int
    result: str
    failure: str | None
    seconds: float
    peak: int


class _TimeIsUp(BaseException):
    """Raised by the alarm; no reader catches it."""


class Inconsistent(Exception):
    """A reader contradicts itself."""


def read_everything(path: Path) -> None:
    """Open a file and read each tensor, whole and its first row, which must agree with the inventory.

    Raises:
        UnreadableCheckpoint: as the reader does.
        Inconsistent: where they don't.
    """
    with open_checkpoint([path]) as checkpoint:
        for name, info in checkpoint.tensors.items():
            tensor = checkpoint.read(name, None)
            if (tuple(tensor.shape), dtype_name(tensor.dtype)) != (info.shape, info.dtype):
                raise Inconsistent(f"{name[:80]!r} is {tensor.dtype} {tuple(tensor.shape)}, not {info}")
            if info.shape and info.shape[0]:
                row = checkpoint.read(name, None, (0, 1))
                if row.shape != tensor[:1].shape or _bits(row) != _bits(tensor[:1]):
                    raise Inconsistent(
                        f"the first row of {name[:80]!r} is another alone than with the others"
                    )


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def work(job: Job, connection: Connection) -> None:
    """Send a word when the reader is loaded, then read the inputs of a job and send an :class:`Outcome` each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        path = folder / f"m{job.suffix}"
        (folder / BESIDE).write_bytes(torch.rand(1024).numpy().tobytes())
        for module in {*READERS.values()}:  # damaged, a file may be taken for one of another format
            import_module(module)
        for sample in job.samples:
            path.write_bytes(sample)
            job.read(path)
        os.chdir(
            folder
        )  # what a library or a shell would write without a word to the interpreter is seen there
        watch = Watch(str(folder))
        baseline = _limit_memory()
        signal.signal(signal.SIGALRM, _time_is_up)
        connection.send("ready")
        for index in range(job.start, job.stop):
            path.write_bytes(job.input(index))
            started = time.perf_counter()
            result, failure = _attempt(job, path, watch)
            seconds = time.perf_counter() - started
            connection.send(Outcome(index, result, failure, seconds, _peak() - baseline))


def _attempt(job: Job, path: Path, watch: Watch) -> tuple[str, str | None]:
    result, failure = READ, None
    with watch.watching() as events, _time_limit(job.seconds):
        try:
            job.read(path)
        except UnreadableCheckpoint as error:
            result = type(error).__name__
            failure = f"a reason of several lines: {error!r}" if "\n" in str(error) else None
        except _TimeIsUp:
            failure = f"took more than {job.seconds} s"
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    for name in {*os.listdir(path.parent)} - {path.name, BESIDE}:
        events.append(f"wrote {name!r}")
        path.with_name(name).unlink()
    return result, failure or ("; ".join(events[:3]) or None)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _time_is_up(*_: Any) -> NoReturn:
    raise _TimeIsUp


def _limit_memory() -> int:
    """Allow the process so much more memory than it has; returns the resident bytes that it has."""
    virtual, resident, *_ = map(int, Path("/proc/self/statm").read_text().split())
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (virtual * resource.getpagesize() + MAX_MEMORY, hard))
    return resident * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
