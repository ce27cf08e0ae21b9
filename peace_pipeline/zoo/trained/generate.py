"""Makes sure that a zoo lies on disk, training the chunks that are missing, one process a core."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from peace_pipeline.threads import cores
from peace_pipeline.workers import side_by_side

from .plans import PLANS
from .recipes import Plan
from .store import PROFILES, Store


def generate(
    root: Path,
    *,
    recipe: str = "demo",
    networks: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train what is missing of the first ``networks`` networks of the zoo ``recipe``, in whole chunks.

    Afterwards ``root/recipe``, which is returned, holds exactly these networks; the recipe knows how many are usual.
    ``progress`` is called with the networks done and wanted. Whatever exception ends this, an interrupt too, ends the
    training at once and keeps the chunks that are finished. Worker processes are spawned: a script that calls this
    needs the usual ``if __name__ == "__main__"``.

    Raises:
        ValueError: if there is no such recipe.
    """
    if recipe not in PLANS:
        raise ValueError(f"no recipe {recipe!r}; there are {', '.join(PLANS)}")
    store = Store(Path(root), PLANS[recipe], seed)
    size = store.plan.chunk_size
    wanted = range(-(-(store.plan.networks if networks is None else networks) // size))
    store.state.mkdir(parents=True, exist_ok=True)
    with FileLock(store.state / "lock"):
        store.tidy(wanted)
        missing = [chunk for chunk in wanted if not store.marker(chunk).exists()]
        total = len(wanted) * size
        done = total - len(missing) * size
        if progress:
            progress(done, total)
        with closing(_train(store, missing, processes or cores())) as trained:
            for chunk, seconds in trained:
                store.publish(chunk, seconds)
                done += size
                if progress:
                    progress(done, total)
    return store.networks


def _train(store: Store, chunks: list[int], processes: int) -> Generator[tuple[int, float], None, None]:
    """Train ``chunks`` into their building folders; yields each as it is ready, with its CPU-seconds."""
    if not chunks:
        return
    last_first = chunks[::-1]
    pieces = [(store.plan, store.seed, chunk, store.building(chunk)) for chunk in last_first]
    with closing(side_by_side(min(processes, len(chunks)), _train_chunk, pieces)) as trained:
        for place, seconds in trained:
            yield last_first[place], seconds


def _train_chunk(plan: Plan, seed: int, chunk: int, folder: Path) -> float:
    """Train one chunk and write its networks and their profiles under ``folder``; the CPU-seconds it took."""
    import torch

    from . import measuring, profiling, publishing, training
    from .tasks import load_task

    torch.set_num_threads(1)  # whatever the user has set: networks are the same, bit for bit, on any machine
    start = time.process_time()
    runs = plan.runs(seed, chunk)
    tasks = {run.recipe.task: load_task(run.recipe.task) for run in runs}
    rivals = measuring.rivals(runs)
    answers = {}
    folder.mkdir()
    for name, run, step, state in training.train(runs, tasks, seed=seed):
        task = tasks[run.recipe.task]
        network = measuring.load(run.recipe.config, state)
        metrics = measuring.measure(network, task, rivals[run.name])
        publishing.write(folder / name, name, run, step, state, task, metrics)
        if plan.profiled and not task.is_text:
            answers[name] = profiling.profile(network, run.recipe.config["input_shape"])
    if plan.profiled:
        profiling.write(answers, folder / PROFILES)
    return time.process_time() - start
