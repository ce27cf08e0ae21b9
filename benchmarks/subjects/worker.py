"""A process that tries one subject after another, and is replaced where one takes too long or kills it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import signal
import warnings
from contextlib import suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType

import torch

from peace_pipeline.symmetry.wiring.tracing import libraries
from peace_pipeline.symmetry.wiring.types import Wiring, WiringMismatch

from .judging import FOLLOWED, LIBRARY, PLAIN_CHECKPOINTS, UNTRIED, Outcome, followed, judged
from .library import library
from .subject import PLAIN, Unbuildable

_SUBJECTS_EACH = 150
"""A process is replaced after so many subjects: what they leave behind adds up."""
_MEMORY = 6 << 30
_STARTING, _PATIENCE = 600, 20
"""Seconds; and seconds that may pass for each one of the processor's time: the machine may be busy."""
_QUIET = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
_FOLLOWED = ", followed"


def names() -> list[str]:
    """All subjects: plain modules, the same followed, and model classes of transformers."""
    os.environ |= _QUIET
    return [*PLAIN, *(name + _FOLLOWED for name in PLAIN), *library()]


class Worker:
    """Tries subjects in a process of its own, each for at most so many seconds of the processor's time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._done = seconds, 0
        self._process: SpawnProcess | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def outcome(self, name: str) -> Outcome:
        """What comes of the subject of this name."""
        if self._process is None or self._done >= _SUBJECTS_EACH:
            self._process = self._started()
        self._done += 1
        self._connection.send(name)
        try:
            if self._connection.poll(_PATIENCE * self._seconds):
                return self._connection.recv()
            why = "it doesn't end"
        except EOFError:
            self._process.join()
            is_late = self._process.exitcode == -signal.SIGPROF
            why = f"it takes more than {self._seconds:g} seconds" if is_late else "its process died"
        self._stop()
        return Outcome(name, *_group_and_kind(name), UNTRIED, why)

    def _started(self) -> SpawnProcess:
        self._stop()
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, self._seconds), daemon=True)
        process.start()
        other.close()
        if not self._connection.poll(_STARTING):
            raise TimeoutError("the process that tries subjects doesn't start")
        self._connection.recv()
        self._done = 0
        return process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _group_and_kind(name: str) -> tuple[str, str]:
    if name in PLAIN:
        return PLAIN_CHECKPOINTS, PLAIN[name].kind
    if name.endswith(_FOLLOWED):
        return FOLLOWED, PLAIN[name.removesuffix(_FOLLOWED)].kind
    return LIBRARY, library()[name].kind


def _serve(connection: Connection, seconds: float) -> None:
    """Answer names of subjects by what comes of them; ends by SIGPROF where one takes longer."""
    os.environ |= _QUIET
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    library()
    _trace_here()
    connection.send("ready")
    with suppress(EOFError):
        while True:
            name = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, seconds)
            outcome = _tried(name)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(outcome)


def _tried(name: str) -> Outcome:
    group, kind = _group_and_kind(name)
    try:
        if group == FOLLOWED:
            return followed(PLAIN[name.removesuffix(_FOLLOWED)], name)
        return judged(PLAIN[name] if name in PLAIN else library()[name], group)
    except Unbuildable as error:
        return Outcome(name, group, kind, UNTRIED, str(error))
    except Exception as error:
        text = re.sub(r"\s+", " ", str(error))[:200]
        return Outcome(name, group, kind, UNTRIED, f"{type(error).__name__}: {text}")


def _trace_here() -> None:
    """Follow modules of transformers in this process, which has them, instead of in a new one for each."""

    @lru_cache(maxsize=8)
    def asked(question: str) -> Wiring | WiringMismatch:
        config, shapes = json.loads(question)
        try:
            return libraries.wiring_in_library({name: tuple(shape) for name, shape in shapes.items()}, config)
        except WiringMismatch as error:
            return error

    libraries._asked = asked
