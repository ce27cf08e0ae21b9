"""How many threads this process computes with, decided here alone. Whatever the user has set stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may use: those that it is bound to, as far as a container's quota goes."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = quota.read_text().split()
        return max(1, min(bound, int(time) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota
        return bound


def share_the_machine() -> None:
    """Settle how libraries wait and how many threads they start; to be called before they are imported.

    Threads that have nothing to do sleep. By default they spin, which on a busy machine takes the core from the very
    thread that they are waiting for. OpenMP (torch, and Arrow after it) and OpenBLAS (NumPy, SciPy) start one a core.
    So does Numba (UMAP), which would otherwise set torch's number, too, to all cores that it sees.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_THREAD_LIMIT", str(cores()))
    for name in ("OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, os.environ.get("OMP_NUM_THREADS", str(cores())))


@contextmanager
def one_thread() -> Iterator[None]:
    """While the block runs torch computes on one thread, unless ``OMP_NUM_THREADS`` says otherwise.

    For many small steps: there is nothing to gain by splitting them, and the result is the same on any machine.
    """
    import torch

    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
