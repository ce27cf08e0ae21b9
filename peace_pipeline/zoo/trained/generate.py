"""Makes sure that a zoo lies on disk, training the chunks that are missing, one process a core.

``root/PLAN`` holds one folder a network and nothing else. ``root/.PLAN`` holds the rest: a marker for every
finished chunk, with the digest of what made it and the names of its networks; chunks being written; the lock.
A chunk is written aside, then moved network by network, and marked last: whatever was killed is done again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from peace_pipeline.lake import atomic

from .plans import PLANS, Plan

FORMAT = 1  # raise it when the same plan would give other files


def generate(
    root: Path,
    *,
    recipe: str = "demo",
    networks: int = 450,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train what is missing of the first ``networks`` networks of the zoo ``recipe``, in whole chunks.

    Afterwards ``root/recipe``, which is returned, holds exactly these networks. ``progress`` is called with
    the networks done and wanted. Worker processes are spawned: a script that calls this needs the usual
    ``if __name__ == "__main__"``.

    Raises:
        ValueError: if there is no such recipe.
    """
    if recipe not in PLANS:
        raise ValueError(f"no recipe {recipe!r}; there are {', '.join(PLANS)}")
    store = _Store(Path(root), PLANS[recipe], seed)
    wanted = range(-(-networks // store.plan.chunk_size))
    store.state.mkdir(parents=True, exist_ok=True)
    with FileLock(store.state / "lock"):
        store.tidy(wanted)
        missing = [chunk for chunk in wanted if not store.marker(chunk).exists()]
        size, total = store.plan.chunk_size, len(wanted) * store.plan.chunk_size
        done = total - len(missing) * size
        if progress:
            progress(done, total)
        for chunk in _train(store, missing, processes or _cores()):
            store.publish(chunk)
            done += size
            if progress:
                progress(done, total)
    return store.networks


@dataclass(frozen=True)
class _Store:
    """Where the chunks of one plan and seed lie."""

    root: Path
    plan: Plan
    seed: int

    @property
    def networks(self) -> Path:
        return self.root / self.plan.name

    @property
    def state(self) -> Path:
        return self.root / f".{self.plan.name}"

    def marker(self, chunk: int) -> Path:
        return self.state / f"{chunk:04d}.json"

    def building(self, chunk: int) -> Path:
        """Where this process, and no worker orphaned by another, has a chunk written."""
        return self.state / f"building-{os.getpid()}-{chunk:04d}"

    def digest(self, chunk: int) -> str:
        """What a chunk follows from, as one hash."""
        runs = [asdict(run) for run in self.plan.runs(self.seed, chunk)]
        _, architecture = self.plan.cell(chunk)
        cause = [FORMAT, self.seed, self.plan.architectures[architecture], runs]
        return hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()

    def tidy(self, wanted: Iterable[int]) -> None:
        """Drop half-written chunks, outdated markers, and networks that no remaining marker names."""
        self.networks.mkdir(exist_ok=True)
        for folder in self.state.glob("building-*"):
            shutil.rmtree(folder)
        current = {self.marker(chunk): self.digest(chunk) for chunk in wanted}
        present = {folder.name for folder in self.networks.iterdir()}
        kept: set[str] = set()
        for marker in self.state.glob("*.json"):
            content = json.loads(marker.read_text())
            if current.get(marker) == content["digest"] and present.issuperset(content["networks"]):
                kept.update(content["networks"])
            else:
                marker.unlink()
        for name in present - kept:
            shutil.rmtree(self.networks / name)

    def publish(self, chunk: int) -> None:
        """Move a chunk's networks to their place and mark it finished."""
        building = self.building(chunk)
        names = sorted(folder.name for folder in building.iterdir())
        for name in names:
            (building / name).rename(self.networks / name)
        building.rmdir()
        with atomic(self.marker(chunk)) as temporary:
            temporary.write_text(json.dumps({"digest": self.digest(chunk), "networks": names}))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _train(store: _Store, chunks: list[int], processes: int) -> Iterable[int]:
    """Train ``chunks`` into their building folders; yields each as it is ready."""
    if not chunks:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(chunks)), mp_context=spawn, initializer=_start) as pool:
        futures = {
            pool.submit(_train_chunk, store.plan, store.seed, chunk, store.building(chunk)): chunk
            for chunk in reversed(chunks)
        }
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Prepare a worker: one thread, no life after its parent's, and an interrupt left to the parent."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train_chunk(plan: Plan, seed: int, chunk: int, folder: Path) -> None:
    """Train one chunk and write its networks under ``folder``."""
    from . import cards, training
    from .tasks import load_task

    task_name, architecture = plan.cell(chunk)
    task, config = load_task(task_name), plan.architectures[architecture]
    folder.mkdir()
    for name, run, step, state in training.train(plan.runs(seed, chunk), config, task, seed=seed):
        score = training.accuracy(config, state, task)
        cards.write(folder / name, name, run, step, state, config, task, score)
