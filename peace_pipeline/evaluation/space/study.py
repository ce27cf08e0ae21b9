"""The study of the embedding space: PEACE's vectors and every baseline's, of networks of held-out training runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.embedder import PEACE, Embedder
from peace_pipeline.evaluation.population import acting, is_embedded, read_listed
from peace_pipeline.evaluation.probing import Sides, errors, hits, sides_of
from peace_pipeline.evaluation.readings import Readings
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.representations import (
    RESPONSES,
    SHAPES,
    STATISTICS,
    Mask,
    Matrix,
    joined,
    read_all,
    represent,
)
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.space import labels as known
from peace_pipeline.evaluation.space.distances import by_actions, kinds_of, ratios
from peace_pipeline.evaluation.space.geometry import clustered, maps
from peace_pipeline.evaluation.space.results import DEFAULT, MAJORITY, Labels, Results, Sample
from peace_pipeline.evaluation.symmetry.study import FamilySheet, family_sheets
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.testing import STRENGTHS
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, VALIDATION, sample_listings

CARD = 16_384
NETWORKS = 8
"""Random networks of each family."""
QUICK: dict[str, Any] = {
    "most": Sample(train=40, validation=20, test=40),
    "sheets": family_sheets()[:1],
    "count": 2,
}
"""Settings with which the study takes seconds."""
MAPPED = (PEACE, RESPONSES, STATISTICS)
CLUSTERED = (known.TASK, known.DATASET, known.ARCHITECTURE, known.PERFORMANCE)
Read = dict[str, Readings]
Figures = dict[str, dict[str, Resampled]]


def measure_space(
    lake: Lake,
    *,
    most: Sample = DEFAULT,
    sheets: Sequence[FamilySheet] | None = None,
    count: int = NETWORKS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Maps, clusters, distances and probes of the current encoder's vectors and of every baseline's.

    Networks that have a task are drawn at random from each side of the split, at most as many as ``most`` says. What
    methods learn, they learn of training runs; maps, clusters, distances and scores are of test runs. Actions of the
    symmetry room are also measured on ``count`` random networks of each family (of ``sheets``, or all).

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where the lake has too few networks with a task of training or of test runs.
    """
    version, encoder = store.load(lake)
    families = family_sheets() if sheets is None else sheets
    done = _counter(progress, 3 + len(MAPPED) + len(STRENGTHS) + len(families))
    embedder = Embedder(encoder)
    read = _read(lake, embedder, most, seed, is_embedded(lake, version))
    members = read[PEACE].members
    sides = sides_of(members)
    if sides.train.sum() < 3 or sides.test.sum() < 5:
        raise NothingToReport("too few networks with a task among training and test runs")
    vectors = represent(read, sides.train, seed)
    done()
    records = Current(lake).records(member.listing.model_id for member in members)
    classes = known.classes(members, records, sides.train)
    test = [member for member, tested in zip(members, sides.test, strict=True) if tested]
    resampling = Resampling.of([member.listing.run for member in test], seed)
    silhouettes, indices = _clusters(vectors, classes, sides.test, resampling)
    done()
    probes = _probes(vectors, classes, known.values(members, records), sides, resampling)
    done()
    distances, nearest = _distances(lake, embedder, read, sides, resampling, seed, done)
    actions = by_actions(encoder, families, count, seed, done)
    drawn = {}
    for method in MAPPED:
        if vectors[method][sides.test].any():
            drawn[method] = maps(vectors[method][sides.test], seed)
        done()
    return Results(
        encoder_version=version,
        seed=seed,
        most=most,
        networks={TRAIN: int(sides.train.sum()), VALIDATION: int(sides.validation.sum()), TEST: len(test)},
        members=test,
        labels={name: column[sides.test] for name, column in classes.items()},
        maps=drawn,
        silhouettes=silhouettes,
        indices=indices,
        probes=probes,
        values=[name for name in probes if name not in classes],
        distances=distances,
        nearest=nearest,
        actions=actions,
    )


def _read(lake: Lake, embedder: Embedder, most: Sample, seed: int, embedded: str) -> Read:
    sizes = {TRAIN: most.train, VALIDATION: most.validation, TEST: most.test}
    listed = [
        listing
        for split, size in sizes.items()
        for listing in sample_listings(
            lake,
            size,
            seed=seed,
            where=f"task IS NOT NULL AND split = '{split}' AND {embedded}",
            card_size=CARD,
        )
    ]
    if not listed:
        raise NothingToReport("no network of the lake has a task")
    return read_all(read_listed(lake, listed), embedder)


def _clusters(
    vectors: Mapping[str, Matrix], classes: Mapping[str, Labels], test: Mask, resampling: Resampling
) -> tuple[Figures, dict[str, dict[str, float]]]:
    """Silhouettes and Davies-Bouldin indices by label and method, of labels with several classes."""
    silhouettes: Figures = {}
    indices: dict[str, dict[str, float]] = {}
    for label in CLUSTERED:
        labelled = classes[label][test] != known.UNKNOWN
        column = classes[label][test][labelled]
        if not 1 < len(set(column)) < len(column):
            continue
        drawn = resampling.of_networks(labelled)
        found = {
            method: clustered(matrix[test][labelled], column, drawn)
            for method, matrix in vectors.items()
            if not (method == SHAPES and label == known.ARCHITECTURE)
        }
        silhouettes[label] = {method: silhouette for method, (silhouette, _) in found.items()}
        indices[label] = {method: index for method, (_, index) in found.items()}
    return silhouettes, indices


def _probes(
    vectors: Mapping[str, Matrix],
    classes: Mapping[str, Labels],
    values: Mapping[str, Matrix],
    sides: Sides,
    resampling: Resampling,
) -> Figures:
    """Target → method → the share of test networks whose class is named, or of the variance that is explained; targets
    that don't vary, or that no test network has, are left out."""
    found: Figures = {}
    for target, column in classes.items():
        of = sides.of(column != known.UNKNOWN)
        if len(set(column[of.train])) < 2 or not of.test.any():
            continue
        drawn = resampling.of_networks(of.test[sides.test])
        named = {method: hits(matrix, column, of) for method, matrix in vectors.items()}
        named[MAJORITY] = hits(np.zeros((len(column), 1)), column, of)
        found[target] = {method: drawn.mean(right[of.test]) for method, right in named.items()}
    for target, numbers in values.items():
        of = sides.of(~np.isnan(numbers))
        if of.train.sum() < 3 or not of.test.any() or not np.ptp(numbers[of.test]):
            continue
        drawn = resampling.of_networks(of.test[sides.test])
        known_of = of.train | of.validation | of.test
        filled = np.where(known_of, numbers, 0.0)
        whole = np.square(numbers - numbers[of.train].mean())[of.test]
        wrong = {method: errors(matrix, filled, of)[of.test] for method, matrix in vectors.items()}
        wrong[MAJORITY] = whole
        found[target] = {method: drawn.ratio(whole - error, whole) for method, error in wrong.items()}
    return found


def _distances(
    lake: Lake,
    embedder: Embedder,
    read: Read,
    sides: Sides,
    resampling: Resampling,
    seed: int,
    done: Callable[[], None],
) -> tuple[Figures, Figures]:
    """Kind of action → method → how far it moves test networks that have it, and how many stay nearer to themselves
    than to any other."""
    test = np.flatnonzero(sides.test)
    originals = {method: readings.select(test) for method, readings in read.items()}
    members = originals[PEACE].members
    kinds = kinds_of([member.wiring for member in members], STRENGTHS)
    distances: Figures = {}
    nearest: Figures = {}
    for kind in STRENGTHS:
        if kind in kinds:
            having = np.flatnonzero(kinds[kind])
            listed = [members[place].listing for place in having.tolist()]
            moved = read_all(read_listed(lake, listed), embedder, acting(STRENGTHS[kind], seed))
            found = _ratios(read, moved, sides, having, seed)
            drawn = resampling.of_networks(kinds[kind])
            distances[kind] = {method: drawn.median(ratio) for method, ratio in found.items()}
            nearest[kind] = {method: drawn.mean(ratio < 1) for method, ratio in found.items()}
        done()
    return distances, nearest


def _ratios(read: Read, moved: Read, sides: Sides, having: np.ndarray, seed: int) -> dict[str, Matrix]:
    """Of each method, with the vectors of all networks learned from the same training split."""
    order = {member.listing.model_id: place for place, member in enumerate(moved[PEACE].members)}
    tested = [m for m, is_test in zip(read[PEACE].members, sides.test, strict=True) if is_test]
    rows = [order[tested[place].listing.model_id] for place in having]
    count = len(sides.test)
    train = np.concatenate([sides.train, np.zeros(len(rows), dtype=bool)])
    vectors = represent(joined(read, moved), train, seed)
    return {
        method: ratios(matrix[:count][sides.test], matrix[count:][rows], having)
        for method, matrix in vectors.items()
        if method != SHAPES
    }


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    """A function that reports one more of ``total`` steps done."""
    steps = iter(range(1, total + 1))

    def done() -> None:
        if progress:
            progress(next(steps), total)

    return done
