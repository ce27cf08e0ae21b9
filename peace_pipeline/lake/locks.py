"""Who works on a lake alone: over all processes of a machine, and whoever has to wait says for what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peace_pipeline.progress import Progress


@contextmanager
def alone(
    lock: Path, work: str, progress: Progress | None = None, *, patience: float = 1.0
) -> Iterator[None]:
    """One process at a time within the block, which holds the file ``lock``.

    After ``patience`` seconds ``progress`` is told that another ``work`` is waited for.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    while not held.is_locked:
        try:
            held.acquire(timeout=patience)
        except Timeout:
            if progress:
                progress(0, 0, f"waiting for another {work} of this lake")
    try:
        yield
    finally:
        held.release()
