"""A watch over what this process does beyond computing, by the interpreter's audit events (PEP 578)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FORBIDDEN = {
    "import",
    "exec",
    "compile",
    "marshal.loads",
    "pickle.find_class",
    "code.__new__",
    "function.__new__",
}
_FAMILIES = {
    "os", "subprocess", "socket", "shutil", "ctypes", "tempfile", "glob", "urllib", "http", "ftplib", "smtplib",
    "telnetlib", "pty", "webbrowser", "syslog", "signal", "resource", "sqlite3",
}  # fmt: skip
"""First parts of the names of events that reading a file never raises, but for those in ``_is_local``."""


class Watch:
    """Lists what a block of code did that reading a file in ``folder`` never needs; the hook can't be taken away."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(os.path.realpath(folder), "")
        self._found: list[str] | None = None
        sys.addaudithook(self._note)

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """The events within the block, as texts."""
        found: list[str] = []
        modules = len(sys.modules)
        self._found = found
        try:
            yield found
        finally:
            self._found = None
            if len(sys.modules) > modules:
                found.append(f"import of {list(sys.modules)[modules:]}")

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._found is None:
            return
        if event == "open":
            wrong = not self._is_harmless(*arguments)
        else:
            wrong = event in _FORBIDDEN or (
                event.partition(".")[0] in _FAMILIES and not _is_local(event, arguments)
            )
        if wrong:
            self._found.append(f"{event} {[str(argument)[:80] for argument in arguments]}")

    def _is_harmless(self, path: Any, _: Any, flags: int) -> bool:
        """Whether an ``open`` is for reading a file of the folder, or of a descriptor that is open."""
        writes = flags & (os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        return isinstance(path, int) or (not writes and os.fsdecode(path).startswith(self._folder))


def _is_local(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an event is one of sharing memory with another process, as readers of HDF5 do: through sockets without
    a name, and a file in memory, which is known by its descriptor alone."""
    if event == "socket.__new__":
        return arguments[1] == socket.AF_UNIX
    return (event == "socket.sendmsg" and arguments[1] is None) or (
        event == "os.truncate" and isinstance(arguments[0], int)
    )
