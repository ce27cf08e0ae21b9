"""A terminal of a test's own, in which commands are typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _take_the_terminal() -> None:
    """In the new process: what is typed is for it, Ctrl-C too."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def typed(
    words: Sequence[str],
    *,
    width: int,
    cwd: Path,
    env: Mapping[str, str],
    answers: str = "",
    after: float = 0,
) -> tuple[int, list[str]]:
    """Exit code and the lines on the screen of a command that is typed in a terminal of so many columns.

    ``answers`` are what is typed then, ``after`` so many seconds. Lines are as they were written, without colours;
    longer ones would break.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    own = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        list(words),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=own | {"TERM": "xterm"},
        start_new_session=True,
        preexec_fn=_take_the_terminal,
    )
    os.close(theirs)
    typing = threading.Timer(after, os.write, (ours, answers.encode()))
    typing.start()
    shown = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the last process that had the terminal is gone
            break
        if not part:
            break
        shown += part
    typing.join()
    os.close(ours)
    lines = _ESCAPES.sub("", shown.decode()).replace("\r\n", "\n").split("\n")
    return process.wait(), [line.rpartition("\r")[2].rstrip() for line in lines]
