"""The retrieval report: PEACE and every baseline on held-out training runs, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import embed_stacks
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.population import Member, Population, disguise, read_population
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.retrieval.grades import (
    baseline_similarities,
    relevance,
    same_function,
    same_task,
)
from peace_pipeline.evaluation.retrieval.results import PEACE, Results
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.zoo import DELETED
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, Listing, listings


def score_methods(lake: Lake, *, seed: int = 0, progress: Progress | None = None) -> Results:
    """Evaluate the current encoder and all baselines.

    Queries and gallery are the networks of test runs that have a task; the baselines learn from those of training
    runs. The tensors of both splits are held in memory.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where fewer than two test runs share a task.
    """
    version, encoder = store.load(lake)
    current = listings(lake)
    with_task = [network for network in current if network.task]
    population, train = (
        read_population(lake, [network for network in with_task if network.split == split])
        for split in (TEST, TRAIN)
    )
    members = population.members
    relevant, excluded = relevance(members)
    if not (relevant & ~excluded).any():
        raise NothingToReport("no two training runs of the test split share a task")
    done = _counter(progress, 1 + _methods(True) + _methods(False))

    disguised = disguise(population, seed)
    hidden, _ = embed_population(encoder, disguised)
    vectors, rate = embed_population(encoder, population)
    done()
    function = baseline_similarities(disguised, population, train, weights_only=True, done=done)
    task = baseline_similarities(population, population, train, weights_only=False, done=done)
    grades = (
        same_function(members, {PEACE: hidden @ vectors.T, **function}, seed),
        same_task(members, {PEACE: vectors @ vectors.T, **task}, seed),
    )
    return Results(
        encoder_version=version,
        seed=seed,
        members=members,
        vectors=vectors,
        same_function=grades[0],
        same_task=grades[1],
        population=_population(lake, current, members, rate),
    )


def embed_population(encoder: Encoder, population: Population) -> tuple[NDArray[np.float64], float]:
    """Embeddings (networks, dimension) as the index holds them, and how many networks were embedded a second."""
    start = time.perf_counter()
    embedded = embed_stacks(encoder, (cohort.stack for cohort in population.cohorts))
    vectors = np.stack([each.network for each in embedded]).astype(np.float64)
    return vectors, len(population) / (time.perf_counter() - start)


def _population(
    lake: Lake, current: Sequence[Listing], members: Sequence[Member], rate: float
) -> dict[str, float]:
    known = Current(lake).count(f"status <> '{DELETED}'")
    return {
        "networks": len(current),
        "skipped": known - len(current),
        "test_networks": len(members),
        "test_runs": len({member.listing.run for member in members}),
        "test_tasks": len({member.listing.task for member in members}),
        "test_shuffled_labels": sum(member.listing.shuffled_labels for member in members),
        "test_independent": sum(not member.acted_on for member in members),
        "networks_per_second": rate,
    }


def _methods(weights_only: bool) -> int:
    return sum(method.weights_only or not weights_only for method in all_baselines().values())


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    """A function that reports one more of ``total`` steps done."""
    steps = iter(range(1, total + 1))

    def done() -> None:
        if progress:
            progress(next(steps), total)

    return done
