"""The retrieval study: PEACE and every baseline on held-out training runs, in one run.

Its memory has a limit at any size of the zoo: about 1 GB beside the encoder and the largest network. Networks are
sampled, their tensors pass by in chunks, and what is kept of each is a vector for each method and the beginning of its
card; similarities are matrices of queries × gallery.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.baselines.registry import Knows, Similarity, all_baselines
from peace_pipeline.evaluation.baselines.responses import raw_responses
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE, Embedder
from peace_pipeline.evaluation.metrics import fused
from peace_pipeline.evaluation.population import disguising, is_embedded, read_listed
from peace_pipeline.evaluation.readings import Reader, Readings, read
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.retrieval.descriptions import by_description
from peace_pipeline.evaluation.retrieval.grades import (
    related_task,
    relevance,
    same_function,
    same_profile,
    same_task,
)
from peace_pipeline.evaluation.retrieval.learned import learned_tasks
from peace_pipeline.evaluation.retrieval.results import DEFAULT, HYBRIDS, Results, Sample
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.zoo import DELETED
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, Listing, count_listings, sample_listings

CARD = 65_536
QUICK: dict[str, Any] = {"most": Sample(queries=20, gallery=40, training=40)}
"""Settings with which the study takes seconds."""
Read = dict[str, Readings]


def score_methods(
    lake: Lake,
    *,
    most: Sample = DEFAULT,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Evaluate the current encoder and all baselines.

    The gallery are networks of test runs that have a task, the queries some of them; baselines learn from networks of
    training runs. Of each there are at most as many as ``most`` says, drawn at random. Of a card ``CARD`` characters
    are read.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where fewer than two test runs share a task.
    """
    version, encoder = store.load(lake)
    embedded = is_embedded(lake, version)
    listed = _drawn(lake, TEST, most.gallery, seed, embedded)
    asking = _asking(listed, most.queries, seed)
    of_weights = [name for name, method in all_baselines().items() if method.knows == Knows.WEIGHTS]
    done = _counter(progress, 4 + len(of_weights) + len(all_baselines()))

    embedder = Embedder(encoder)
    readers: dict[str, Reader | None] = {name: method.reads for name, method in all_baselines().items()}
    test = embedder.parted(read(read_listed(lake, listed), readers | {PEACE: embedder}))
    done()
    of_copies = {name: readers[name] for name in of_weights} | {PEACE: embedder}
    hidden = embedder.parted(read(read_listed(lake, asking), of_copies, disguising(seed)))
    done()
    train = read(read_listed(lake, _drawn(lake, TRAIN, most.training, seed, embedded)), readers)
    done()
    members = test[PEACE].members
    asked = {listing.model_id for listing in asking}
    places = np.flatnonzero([member.listing.model_id in asked for member in members])
    asks = {name: readings.select(places) for name, readings in test.items()}
    function = {PEACE: _cosine(hidden[WEIGHTS_ALONE], test[WEIGHTS_ALONE])}
    function |= _similarities(of_weights, hidden, test, train, done)
    task = {name: _cosine(asks[name], test[name]) for name in (PEACE, WEIGHTS_ALONE)}
    task |= _similarities(all_baselines(), asks, test, train, done)
    task |= _joined(task)
    # a network in disguise has other weights, but answers what it answered, and its card is the same
    disguised = task | function | {WEIGHTS_ALONE: function[PEACE], PEACE: _cosine(hidden[PEACE], test[PEACE])}
    disguised |= _joined(disguised)
    learned = learned_tasks(lake, version)
    graded = {
        "same_function": same_function(members, places, function, seed),
        "same_task": same_task(
            members,
            places,
            task,
            seed,
            disguised=disguised,
            seen=learned.of([each.listing for each in members]),
        ),
        "related_task": related_task(members, places, task, seed),
        "same_profile": same_profile(members, places, task, test[raw_responses.__name__].vectors, seed),
        "descriptions": by_description(members, test[PEACE].matrix, seed),
    }
    done()
    return Results(
        encoder_version=version,
        seed=seed,
        most=most,
        members=members,
        vectors=test[PEACE].matrix,
        **graded,
        learned_from=learned.words,
        population=_population(lake, test, len(places), embedder.rate),
    )


def _drawn(lake: Lake, split: str, most: int, seed: int, embedded: str) -> list[Listing]:
    where = f"task IS NOT NULL AND split = '{split}' AND {embedded}"
    return sample_listings(lake, most, seed=seed, where=where, card_size=CARD)


def _asking(listed: Sequence[Listing], most: int, seed: int) -> list[Listing]:
    """The queries, at most so many of the gallery.

    Raises:
        NothingToReport: where none of them has anything to find.
    """
    asking = random.Random(seed).sample(listed, most) if len(listed) > most else list(listed)
    relevant, excluded = relevance(asking, listed)
    if not (relevant & ~excluded).any():
        raise NothingToReport("no two training runs of the test split share a task")
    return asking


def _cosine(queries: Readings, gallery: Readings) -> Similarity:
    """Cosine of unit vectors (queries, gallery)."""
    return queries.matrix @ gallery.matrix.T


def _similarities(
    names: Iterable[str], queries: Read, gallery: Read, train: Read, done: Callable[[], None]
) -> Iterator[tuple[str, Similarity]]:
    """Similarities (queries, gallery) by registered methods."""
    for name in names:
        yield name, all_baselines()[name].similarity(queries[name], gallery[name], train[name])
        done()


def _joined(found: Mapping[str, Similarity]) -> dict[str, Similarity]:
    """PEACE's vectors and the text of cards, by the ranks of both."""
    return {name: fused(found[PEACE], found[text]) for name, (_, text) in HYBRIDS.items()}


def _population(lake: Lake, test: Read, queries: int, rate: float) -> dict[str, float]:
    networks = count_listings(lake)
    known = Current(lake).count(f"status != '{DELETED}'")
    members = test[PEACE].members
    listings = [member.listing for member in members]
    return {
        "networks": networks,
        "skipped": known - networks,
        "test_networks": len(members),
        "test_networks_run": sum(vector.size > 0 for vector in test[raw_responses.__name__].vectors),
        "test_queries": queries,
        "test_runs": len({listing.run for listing in listings}),
        "test_tasks": len({listing.task for listing in listings}),
        "test_shuffled_labels": sum(listing.shuffled_labels for listing in listings),
        "test_independent": sum(not member.acted_on for member in members),
        "networks_per_second": rate,
    }


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    """A function that reports one more of ``total`` steps done."""
    steps = iter(range(1, total + 1))

    def done() -> None:
        if progress:
            progress(next(steps), total)

    return done
