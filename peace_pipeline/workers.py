"""Pieces of work side by side, each in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.util import Finalize
from typing import Any, TypeVar, cast

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
    (Python's own pool of processes can wait for ever for one that died: it watches only those that it had begun when
    it last heard something.)

    Raises:
        WorkerDied: where one of them was killed, or could not begin.
        ValueError: where ``processes`` is less than 1.
    """
    if processes < 1:
        raise ValueError(f"{processes} processes: at least one is needed")
    waiting = deque(enumerate(pieces))
    workers: dict[Connection, SpawnProcess] = {}
    places: dict[Connection, int] = {}

    def hand(connection: Connection) -> None:
        places[connection], piece = waiting.popleft()
        with suppress(BrokenPipeError, ConnectionResetError):  # of one that died: there will be no answer
            connection.send(piece)

    def kill() -> None:
        for worker in workers.values():
            worker.kill()

    leaving = Finalize(None, kill, exitpriority=0)  # before multiprocessing waits for them
    try:
        resource_tracker.ensure_running()  # which lets go of the signals that are held back
        with spared():
            for _ in range(min(processes, len(waiting))):
                connection, worker = _begin(work)
                workers[connection] = worker
        for connection in workers:
            hand(connection)
        while places:
            ready = wait(list(places))
            for connection in [one for one in places if one in ready]:
                place, result = places.pop(connection), _answer(connection)
                if waiting:
                    hand(connection)
                yield place, result
        for connection in workers:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.send(None)
    except BaseException:
        kill()
        raise
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.join()
        leaving.cancel()


def end_with_parent() -> None:
    """In a process that multiprocessing began: end it when its parent is gone, whatever it does or waits for."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _begin(work: Callable[..., object]) -> tuple[Connection, SpawnProcess]:
    """A process that does ``work``, and the connection by which it gets arguments and answers."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    with there:
        worker = spawn.Process(target=_serve, args=(there, work, _levels()))
        worker.start()
    return here, worker


def _answer(connection: Connection) -> Any:
    """What the work returned there; what it raised is raised here."""
    try:
        result, error = connection.recv()
    except Exception as gone:
        raise WorkerDied(
            "a process that worked for this one was killed, perhaps for want of memory, or raised what can't be read "
            "here, or couldn't begin: a script has to ask for this under `if __name__ == '__main__':`"
        ) from gone
    if error is not None:
        raise error
    return result


def _serve(connection: Connection, work: Callable[..., object], levels: Mapping[str, int]) -> None:
    """A worker's life: it ends with the parent, or when that wants nothing more of it."""
    end_with_parent()
    _log_as_the_parent(levels)
    while (piece := _piece(connection)) is not None:
        result, error = _done(work, piece)
        try:
            connection.send((result, error))
        except Exception as reason:
            made = "its result" if error is None else "".join(traceback.format_exception_only(error)).strip()
            connection.send((None, WorkerDied(f"a process can't send {made}: {reason}")))


def _piece(connection: Connection) -> tuple[object, ...] | None:
    """What to work at next; ``None`` where that was all, or the parent is gone."""
    with suppress(EOFError, ConnectionResetError):
        return cast("tuple[object, ...] | None", connection.recv())
    return None


def _done(
    work: Callable[..., object], piece: tuple[object, ...]
) -> tuple[object, None] | tuple[None, BaseException]:
    """What the work returned, and what it raised."""
    try:
        return work(*piece), None
    except BaseException as error:
        with suppress(Exception):  # an exception may be frozen
            error.add_note(traceback.format_exc())
        return None, error


def _levels() -> dict[str, int]:
    """The levels that loggers were given here."""
    known = list(logging.root.manager.loggerDict.items())
    return {name: one.level for name, one in known if isinstance(one, logging.Logger) and one.level}


def _log_as_the_parent(levels: Mapping[str, int]) -> None:
    """The parent's levels of loggers, and warnings alone of libraries that would otherwise log by a handler for all."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logging.root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
