"""Pieces of work side by side, each in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from peace_pipeline.interrupts import spared

T = TypeVar("T")


class WorkerDied(RuntimeError):
    """A process that worked for this one is gone."""


def side_by_side(
    processes: int, work: Callable[..., T], pieces: Iterable[tuple[object, ...]]
) -> Generator[tuple[int, T], None, None]:
    """The place of each piece, and what ``work`` makes of its arguments, as they are ready; ``processes`` at a time.

    Whatever exception ends this, an interrupt or one of the work itself, ends all processes at once, and so does the
    death of this process. They are spawned: a script that comes here needs the usual ``if __name__ == "__main__"``.

    Raises:
        WorkerDied: where one of them was killed, or could not begin.
    """
    spawn = multiprocessing.get_context("spawn")
    lifeline, held = spawn.Pipe(duplex=False)
    with ProcessPoolExecutor(processes, spawn, _start, (lifeline, _levels())) as pool:
        try:
            with spared():
                futures = {pool.submit(work, *piece): place for place, piece in enumerate(pieces)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            held.close()  # which ends them, whatever libraries make of signals
            if isinstance(error, BrokenProcessPool):
                raise WorkerDied(
                    "a process that worked for this one was killed, perhaps for want of memory, or raised what can't "
                    "be sent, or couldn't begin: a script has to ask for this under `if __name__ == '__main__':`"
                ) from error
            raise
    held.close()


def end_with_parent() -> None:
    """In a process that multiprocessing began: end it when its parent is gone, whatever it does or waits for."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _levels() -> dict[str, int]:
    """The levels that loggers were given here."""
    known = list(logging.root.manager.loggerDict.items())
    return {name: one.level for name, one in known if isinstance(one, logging.Logger) and one.level}


def _start(lifeline: Connection, levels: Mapping[str, int]) -> None:
    """Prepare a worker: no life after the parent lets go, the parent's levels of loggers, and warnings alone of
    libraries that would otherwise log by a handler for all."""
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logging.root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _follow(lifeline: Connection | int) -> None:
    """End this process when the other end of ``lifeline`` is closed: by the parent, or by its death."""
    wait([lifeline])
    os._exit(1)
