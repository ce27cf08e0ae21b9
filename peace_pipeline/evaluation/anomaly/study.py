"""The study of anomalies: what is told of networks that somebody tampered with, and of copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.anomaly.detection import Detected, copies, far, judged, learned, threshold
from peace_pipeline.evaluation.anomaly.results import (
    ACCURACY,
    DEFAULT,
    DISGUISED,
    EXACT,
    FAR,
    LEARNED,
    Results,
    Sample,
)
from peace_pipeline.evaluation.anomaly.suspects import BACKDOORED, CLEAN, RECIPE, SHUFFLED, kinds, suspects
from peace_pipeline.evaluation.embedder import PEACE, Embedder
from peace_pipeline.evaluation.population import Member, acting, is_embedded, read_listed
from peace_pipeline.evaluation.probing import Sides, sides_of
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.representations import (
    CHANCE,
    KNOW_CARDS,
    Mask,
    Matrix,
    joined,
    read_all,
    represent,
)
from peace_pipeline.evaluation.resampling import Resampling
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.group.elements import ALL
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, VALIDATION, listings, sample_listings
from peace_pipeline.zoo.record import ModelRecord

CARD = 16_384
QUICK: dict[str, Any] = {"networks": 48, "most": Sample(train=30, validation=10, test=20)}
"""Settings with which the study takes seconds."""
TRIGGER = "trigger_success"


def detect_anomalies(
    lake: Lake,
    *,
    recipe: str = RECIPE,
    networks: int | None = None,
    most: Sample = DEFAULT,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Detect what is wrong with networks that are trained for it once (the zoo ``recipe``, its usual size or so many
    ``networks``), and copies of the lake's own test networks, by the current encoder's vectors and every baseline's.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where the lake has too few networks with a task to be copied.
    """
    version, encoder = store.load(lake)
    embedder = Embedder(encoder)
    found = _copied(lake, embedder, most, seed, is_embedded(lake, version))
    own = suspects(lake, recipe, networks, progress)
    listed = listings(own)
    read = read_all(read_listed(own, listed), embedder)
    members = read[PEACE].members
    records = Current(own).records(member.listing.model_id for member in members)
    known = [records[member.listing.model_id] for member in members]
    sides, wrong = sides_of(members), kinds(known)
    vectors = {
        LEARNED: represent(read, sides.train, seed),
        FAR: represent(read, sides.train & (wrong == CLEAN), seed),
    }
    return Results(
        encoder_version=version,
        seed=seed,
        most=most,
        suspects={kind: int((wrong[sides.test] == kind).sum()) for kind in (CLEAN, SHUFFLED, BACKDOORED)},
        trios=len(set(_trios(members, sides.test))),
        triggered=_triggered(known, wrong),
        copied=found[0],
        anomalies={
            kind: _anomaly(kind, vectors, members, wrong, sides, seed) for kind in (BACKDOORED, SHUFFLED)
        },
        copies=found[1],
    )


def _anomaly(
    kind: str,
    vectors: Mapping[str, Mapping[str, Matrix]],
    members: Sequence[Member],
    wrong: np.ndarray,
    sides: Sides,
    seed: int,
) -> dict[str, dict[str, Detected]]:
    """Way → method → how well networks of one kind are told from clean ones; ``vectors`` are by way: who knows no
    anomaly learns nothing of anomalies."""
    of = sides.of((wrong == kind) | (wrong == CLEAN))
    positive, clean = wrong == kind, of.train & (wrong == CLEAN)
    resampling = Resampling.of(_trios(members, of.test), seed)
    fixed = {
        ACCURACY: _inaccuracy(members, clean),
        CHANCE: np.random.default_rng(seed).random(len(members)),
    }
    read = [name for name in vectors[LEARNED] if name not in (*KNOW_CARDS, CHANCE)]
    scores = {
        LEARNED: {name: learned(vectors[LEARNED][name], positive, of) for name in read} | fixed,
        FAR: {name: far(vectors[FAR][name], clean) for name in read} | fixed,
    }
    return {
        way: {name: judged(score, positive, of, resampling) for name, score in methods.items()}
        for way, methods in scores.items()
    }


def _trios(members: Sequence[Member], chosen: Mask) -> list[str]:
    """The run that each network begins like: twins are drawn together."""
    listed = [member.listing for member, is_chosen in zip(members, chosen, strict=True) if is_chosen]
    return [listing.twin_of or listing.run for listing in listed]


def _inaccuracy(members: Sequence[Member], clean: Mask) -> Matrix:
    """How far the accuracy in the card lies below the mean of the clean training networks of the task; nothing is known
    of networks without one."""
    known = [member.listing.accuracy for member in members]
    accuracy = np.array([np.nan if each is None else each for each in known], dtype=np.float64)
    task = np.array([member.listing.task or "" for member in members])
    usual = np.zeros(len(members))
    for name in np.unique(task):
        of = accuracy[(task == name) & clean]
        usual[task == name] = np.nanmean(of) if np.isfinite(of).any() else np.nan
    return np.nan_to_num(usual - accuracy)


def _triggered(records: Sequence[ModelRecord], wrong: np.ndarray) -> dict[str, float]:
    """How often the trigger works on networks of a kind, as far as it was tried on them."""
    tried = np.array([(record.metrics or {}).get(TRIGGER, np.nan) for record in records])
    means = {kind: tried[(wrong == kind) & np.isfinite(tried)] for kind in (BACKDOORED, CLEAN)}
    return {kind: float(of.mean()) for kind, of in means.items() if of.size}


def _copied(
    lake: Lake, embedder: Embedder, most: Sample, seed: int, embedded: str
) -> tuple[int, dict[str, dict[str, Detected]]]:
    """How many test networks were copied; kind of copy → method → how well copies are told."""
    sizes = {TRAIN: most.train, VALIDATION: most.validation, TEST: most.test}
    listed = {
        split: sample_listings(
            lake,
            size,
            seed=seed,
            where=f"task IS NOT NULL AND split = '{split}' AND {embedded}",
            card_size=CARD,
        )
        for split, size in sizes.items()
    }
    if min(len(of) for of in listed.values()) < 2:
        raise NothingToReport("too few networks with a task among training, validation and test runs")
    originals = read_all(read_listed(lake, [each for of in listed.values() for each in of]), embedder)
    asked = [each for split in (VALIDATION, TEST) for each in listed[split]]
    disguised = read_all(read_listed(lake, asked), embedder, acting(ALL, seed))
    members = originals[PEACE].members
    sides = sides_of(members)
    order = {member.listing.model_id: place for place, member in enumerate(disguised[PEACE].members)}
    train = np.concatenate([sides.train, np.zeros(len(order), dtype=bool)])
    vectors = represent(joined(originals, disguised), train, seed)
    runs = [member.listing.run for member, tested in zip(members, sides.test, strict=True) if tested]
    resampling = Resampling.of(runs, seed)

    def similarity(matrix: Matrix, side: Mask, is_exact: bool) -> Matrix:
        """Of copies of a side's networks and these networks."""
        places = np.flatnonzero(side)
        moved = [len(members) + order[members[place].listing.model_id] for place in places.tolist()]
        return matrix[places if is_exact else moved] @ matrix[places].T

    found: dict[str, dict[str, Detected]] = {}
    for kind in (EXACT, DISGUISED):
        found[kind] = {}
        for method, matrix in vectors.items():
            validated, tested = (
                similarity(matrix, side, kind == EXACT and method != CHANCE)
                for side in (sides.validation, sides.test)
            )
            least = threshold(validated.ravel(), np.eye(len(validated), dtype=bool).ravel())
            found[kind][method] = copies(tested, resampling, least)
    return len(runs), found
