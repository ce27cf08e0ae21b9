"""Threads: a share of the machine by default, what the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from peace_pipeline.threads import cores, one_thread

NAMES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
TOLD = f"import os; print(*(os.environ.get(name, '-') for name in {NAMES}))"
STARTS = ("from peace_pipeline.cli.app import app", "from peace_pipeline.definitions import defs")


def environment(**given: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in NAMES} | given


def told(start: str, **given: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{start}; {TOLD}"],
        env=environment(**given), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize("start", STARTS)
def test_idle_threads_sleep_and_there_is_one_a_core(start: str) -> None:
    assert told(start) == ["-", "PASSIVE", str(cores()), str(cores()), str(cores())]


@pytest.mark.parametrize("start", STARTS)
def test_what_the_user_says_stands(start: str) -> None:
    given = {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE", "OMP_THREAD_LIMIT": "5"}
    assert told(start, **given) == ["3", "ACTIVE", "5", "3", "3"]


def test_cores_are_those_of_the_containers_quota(tmp_path: Path) -> None:
    bound = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    assert cores(quota) == bound
    for share, expected in (("max", bound), ("100000", 1), ("50000", 1), ("99900000", bound)):
        quota.write_text(f"{share} 100000\n")
        assert cores(quota) == expected


def test_one_thread_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with one_thread():
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_map_leaves_the_threads_of_torch_as_they_are() -> None:
    """Numba sets the number of OpenMP's threads, which are torch's, when it first computes."""
    script = (
        "from peace_pipeline.threads import share_the_machine; share_the_machine()\n"
        "import numpy as np; from threadpoolctl import threadpool_info; import torch\n"
        "from peace_pipeline.atlas.layout import lay_out; from peace_pipeline.atlas.neighbours import nearest\n"
        "vectors = np.random.default_rng(0).standard_normal((30, 4), np.float32)\n"
        "vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)\n"
        "lay_out(vectors, nearest(vectors, 5), seed=0)\n"
        "print(max(pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'openmp'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1"]
