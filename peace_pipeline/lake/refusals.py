"""What a disk refuses, in plain words: it is full, it is read-only, or we may not write there.

The system says it by a number; SQLite, Lance, Arrow and Dagster, which pass it on, in texts of their own.
"""

from __future__ import annotations

import errno
import os.path
from collections.abc import Iterator
from pathlib import Path

_FULL = "the disk of {} is full: make room there (`peace gc` deletes what nothing needs)"
_BROKEN = "the disk of {} is full or broken"
_NO_FOLDER = "{} is no folder"
_READ_ONLY, _FORBIDDEN = "{} is read-only", "no permission to use {}"
_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _FORBIDDEN,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
}
_BY_TEXT = {
    "no space left on device": _FULL,
    "disk quota exceeded": _FULL,
    "disk is full": _FULL,
    "disk i/o error": _BROKEN,
    "read-only file system": _READ_ONLY,
    "readonly database": _READ_ONLY,
}


def refusal(error: BaseException) -> str | None:
    """What a disk refused, where that is behind an exception; ``None`` where something else is."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _BY_NUMBER:
            return _BY_NUMBER[link.errno].format(_place(link.filename))
        text = str(link).lower()
        for sign, words in _BY_TEXT.items():
            if sign in text:
                return words.format("the lake")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, itself first."""
    while error is not None:
        yield error
        error = error.__cause__


def _place(name: object) -> str:
    """The folder that exists and was to be written into, or the file that was to be read; as far as we may look."""
    if not isinstance(name, str):
        return "the lake"
    path = Path(name).absolute()
    return str(next(place for place in (path, *path.parents) if os.path.exists(place)))
