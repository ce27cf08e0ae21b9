"""Ctrl-C and SIGTERM end a command, whatever it is doing: one line on standard error, exit code 128 + the signal.

The signal raises in the main thread as usual (Dagster has handlers of its own while it runs something), so temporary
files, worker processes and the run's record are put away. But a library may swallow that exception, or tell of it at
length. So a thread reads the signals too. From the first on nothing else is printed; at a second one, or where the
command isn't over after some seconds, it does no more than what it was told to do :func:`before_the_end` and ends there
and then, which the lake bears as it bears a power cut.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

LINES = {signal.SIGINT: "peace: interrupted", signal.SIGTERM: "peace: terminated"}
_CLEARED = b"\r\x1b[K\x1b[?25h"
"""What ends a progress bar on a terminal: its line is emptied, the cursor is shown again."""

_received: int | None = None
_last_acts: list[Callable[[], None]] = []
_acting = threading.Lock()
_LAST_SECONDS = 20.0
"""For all of them together."""


@contextmanager
def answered(grace: float = 10.0) -> Iterator[None]:
    """Around all that a process does: an interrupt ends it as described above, and at once when the block is over.

    ``grace`` is how many seconds a command has to put its things away. Only for the main thread.
    """
    watch = _Watch(grace)
    atexit.register(_leave)  # after all that libraries put away
    for number in LINES:
        signal.signal(number, watch.handle)
        atexit.register(signal.signal, number, signal.SIG_IGN)  # the last of all: Python itself takes leave
    try:
        yield
    finally:
        watch.over.set()
        if _received is not None:
            watch.say()
            sys.exit(128 + _received)


@contextmanager
def before_the_end(act: Callable[[], None]) -> Iterator[None]:
    """Where an interrupt ends this process within the block, or the block alone, ``act`` is done first: once, and in
    another thread, where no handler of signals raises (that of torch's loaders does, when their workers die of the same
    Ctrl-C) and while the main one may be anywhere.
    """
    _last_acts.append(act)
    try:
        yield
    except BaseException as error:
        if is_received() or not isinstance(error, Exception):
            thread = threading.Thread(target=_do, args=(act,))
            thread.start()
            thread.join()
        else:
            _forget(act)
        raise
    else:
        _forget(act)


def this_process() -> str:
    """What records of runs call this process, so that its death can be noticed."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_received() -> bool:
    """Whether an interrupt came, whatever a library made of it."""
    return _received is not None


def raise_if_received() -> None:
    """Raise again what a library swallowed.

    Raises:
        KeyboardInterrupt: where an interrupt came.
    """
    if _received is not None:
        raise KeyboardInterrupt


@contextmanager
def spared() -> Iterator[None]:
    """Processes started in the block don't get a terminal's Ctrl-C: it is for the parent, which ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def forking() -> Iterator[None]:
    """Around what forks processes: an interrupt waits until the block is over.

    Raised within the hooks of a fork it would be lost, and locks that they take be held for ever.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers of signals are for that one
        yield
        return
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in LINES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for first in received[:1]:
            handler = before[signal.Signals(first)]
            if callable(handler):
                handler(first, None)
            else:
                signal.raise_signal(first)


def _leave() -> None:
    """After an interrupt, without giving back what all libraries hold: that takes seconds on a busy machine."""
    if _received is not None:
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(128 + _received)


class _Watch:
    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.over = threading.Event()
        self.lock, self.said, self.raised = threading.RLock(), False, False
        self.mask: set[int] = set()
        self.nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            self.terminal = os.dup(2)
        except OSError:  # started without a standard error
            self.terminal = self.nowhere
        self.signals, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        os.register_at_fork(
            before=self.hold, after_in_parent=self.hold_no_longer, after_in_child=self.leave_to_the_parent
        )
        threading.Thread(target=self.run, daemon=True).start()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of signals, but while Dagster has its own.

        It raises once: what puts things away after the first signal is not to be stopped by the second, at which the
        thread ends the process.
        """
        self.note(number)
        if self.over.is_set():
            self.end()
        if not self.raised:
            self.raised = True
            raise KeyboardInterrupt

    def run(self) -> None:
        """The thread: whoever else handles a signal, its number comes through the pipe."""
        self.note(self.next_signal())
        if not self.over.is_set():
            timer = threading.Timer(self.grace, self.end)
            timer.daemon = True
            timer.start()
            self.next_signal()
        self.end()

    def next_signal(self) -> int:
        while (number := os.read(self.signals, 1)[0]) not in LINES:
            pass
        return number

    def note(self, number: int) -> None:
        global _received
        if _received is None:
            _received = number
            os.dup2(self.nowhere, 2)

    def hold(self) -> None:
        """Before a fork: what a forked process hears until it leaves the pipe alone would count as a second signal."""
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, LINES)

    def hold_no_longer(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def leave_to_the_parent(self) -> None:
        """In a forked process: a terminal's Ctrl-C isn't for it, and what it hears the thread here shall not read."""
        if not self.over.is_set():
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.hold_no_longer()

    def say(self) -> None:
        with self.lock:
            if _received is None or self.said:
                return
            clear = _CLEARED if os.isatty(self.terminal) else b""
            with suppress(OSError):  # nobody reads any more
                os.write(self.terminal, clear + LINES[signal.Signals(_received)].encode() + b"\n")
            self.said = True

    def end(self) -> None:
        self.say()
        acts = threading.Thread(target=_put_away, daemon=True)
        acts.start()
        acts.join(_LAST_SECONDS)
        os._exit(128 + (_received or 0))


def _put_away() -> None:
    for act in reversed(_last_acts.copy()):
        _do(act)


def _do(act: Callable[[], None]) -> None:
    """At most one at a time, and none twice."""
    with _acting:
        if act in _last_acts:
            with suppress(Exception):
                act()
            _last_acts.remove(act)


def _forget(act: Callable[[], None]) -> None:
    with _acting, suppress(ValueError):  # it was done already
        _last_acts.remove(act)
