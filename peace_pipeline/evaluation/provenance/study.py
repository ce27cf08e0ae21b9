"""The provenance report: verdicts on pairs of networks whose relation is known, and the thresholds that they give."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from peace_pipeline.comparison.evidence import FINE_TUNED
from peace_pipeline.comparison.measuring import DERIVED, EQUIVALENT, UNRELATED, measure
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.comparison.verdict import IDENTICAL, evidence, is_identical
from peace_pipeline.evaluation.derivatives import DERIVED as DERIVATIVES
from peace_pipeline.evaluation.derivatives import Records, Specimen, disguised, specimen
from peace_pipeline.evaluation.provenance.results import Judged, Results, cut
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, Listing, sample_listings

BASES = {TRAIN: 42, TEST: 84}
"""Networks of each split from which pairs are made: about 25 of each, so more than 2,000 of test runs."""
SIDE = 2_000
"""Networks of each split to draw from."""
QUICK: dict[str, Any] = {"bases": {TRAIN: 2, TEST: 2}, "side": 40}
"""Settings with which the study takes seconds."""
_EVERYTHING = Thresholds(0.0, 0.0)


@dataclass(frozen=True)
class Pair:
    """Two networks whose relation is known."""

    kind: str
    disguised: bool
    truth: str
    a: Specimen
    b: Specimen
    relation: str | None = None


def judge_pairs(
    lake: Lake,
    *,
    seed: int = 0,
    bases: Mapping[str, int] = BASES,
    side: int = SIDE,
    progress: Progress | None = None,
) -> Results:
    """Fit the thresholds to pairs of training runs, and judge pairs of test runs by them.

    Of each split there are at most ``side`` networks to draw from, whole recipes as far as there is room; ``bases`` of
    them are compared, with one partner of every kind. In memory at a time: their records, and the weights of a pair.

    Raises:
        NothingToReport: where the lake has no trained zoo with runs on both sides of the split.
    """
    sides = {split: _side(lake, split, side, seed) for split in (TRAIN, TEST)}
    if not all(len({each.recipe for each in listed}) > 1 for listed in sides.values()):
        raise NothingToReport("no trained zoo with several recipes among training and test runs")
    chosen = {split: _bases(listed, bases[split], seed) for split, listed in sides.items()}
    records = Current(lake).records(each.model_id for listed in sides.values() for each in listed)
    total, done = sum(map(len, chosen.values())), 0
    judged: list[Judged] = []
    for split, listed in sides.items():
        for base in chosen[split]:
            judged += [judge(pair, split) for pair in pairs_of(records, base, listed, seed + done)]
            done += 1
            if progress:
                progress(done, total)
    thresholds = fit([each for each in judged if each.split == TRAIN])
    return Results(thresholds, seed, side, judged)


def _side(lake: Lake, split: str, most: int, seed: int) -> list[Listing]:
    """Networks of the trained zoo on one side of the split."""
    where = f"source = 'trained' AND split = '{split}'"
    return sample_listings(lake, most, seed=seed, where=where, together="coalesce(recipe, model_id)")


def _bases(side: Sequence[Listing], count: int, seed: int) -> list[Listing]:
    """Networks at random, as many of each architecture as there are."""
    by_architecture: dict[str | None, list[Listing]] = defaultdict(list)
    for each in random.Random(seed).sample(list(side), len(side)):
        by_architecture[each.architecture].append(each)
    turns = range(max(map(len, by_architecture.values())))
    order = [alike[turn] for turn in turns for alike in by_architecture.values() if turn < len(alike)]
    return order[:count]


def pairs_of(records: Records, base: Listing, side: Sequence[Listing], seed: int) -> Iterator[Pair]:
    """Every kind of pair with one network, its partners from the same side of the split; each kind also disguised."""
    rng = random.Random(seed)
    first = specimen(records, base)
    yield Pair("itself", False, IDENTICAL, first, first)
    yield Pair("itself", True, EQUIVALENT, first, disguised(first, seed))
    made: list[tuple[str, str, str | None, Specimen]] = []
    for kind, (relation, make) in DERIVATIVES.items():
        made.append((kind, DERIVED, relation, make(first, seed)))
    for kind, candidates in partners(base, side).items():
        if candidates:
            other = specimen(records, rng.choice(candidates))
            is_same_run = other.listed.run == base.run
            made.append(
                (kind, DERIVED if is_same_run else UNRELATED, FINE_TUNED if is_same_run else None, other)
            )
    for kind, truth, of, other in made:
        yield Pair(kind, False, truth, first, other, of)
        yield Pair(kind, True, truth, first, disguised(other, seed + 1), of)


def partners(base: Listing, side: Sequence[Listing]) -> dict[str, list[Listing]]:
    """Networks of the same side by what they have in common with one; partners of twins, which begin alike, are left
    out."""
    apart = [each for each in side if base.run not in (each.run, each.twin_of) and each.run != base.twin_of]
    alike = [each for each in apart if each.architecture == base.architecture]
    return {
        "another checkpoint of the run": [
            e for e in side if e.run == base.run and e.model_id != base.model_id
        ],
        "another seed": [each for each in alike if each.recipe == base.recipe],
        "another recipe": [each for each in alike if each.task == base.task and each.recipe != base.recipe],
        "another task's network": [each for each in alike if each.task != base.task],
        "another architecture": [each for each in apart if each.architecture != base.architecture],
    }


def judge(pair: Pair, split: str) -> Judged:
    """Measure a pair."""
    a, b = pair.a.network(), pair.b.network()
    fields = (pair.kind, pair.disguised, pair.truth, split, pair.a.listed.architecture or "")
    if is_identical(a.checkpoint, b.checkpoint):
        return Judged(*fields, None, 1.0)
    measured, form = measure(a, b, _EVERYTHING)
    found = evidence(measured, form)[1] if split == TEST and pair.relation and form else None
    return Judged(*fields, measured, plain_cosine(a, b), pair.relation, found)


def plain_cosine(a: OpenNetwork, b: OpenNetwork) -> float:
    """Cosine of all values of the tensors that both have, in the order in which they are stored; 0 without any."""
    shared = [n for n, info in a.logical.tensors.items() if n in b.logical.tensors and info.is_floating]
    shared = [n for n in shared if a.logical.tensors[n].shape == b.logical.tensors[n].shape]
    if not shared:
        return 0.0
    x, y = (torch.cat([each.logical.read(n, torch.float64).flatten() for n in shared]) for each in (a, b))
    return float(x @ y / (x.norm() * y.norm()).clamp_min(1e-300))


def fit(judged: Sequence[Judged]) -> Thresholds:
    """Thresholds of least balanced error: a tolerance between disguised copies and the slightest changes, a similarity
    between derived and unrelated networks."""
    measured = [(each.truth, each.measured) for each in judged if each.measured]
    near, far = (
        [np.log(max(m.distance, 1e-12)) for truth, m in measured if (truth == EQUIVALENT) == equal]
        for equal in (True, False)
    )
    derived, unrelated = (
        [m.similarity - m.doubt for truth, m in measured if truth == wanted]
        for wanted in (DERIVED, UNRELATED)
    )
    return Thresholds(float(np.exp(cut(near, far))), cut(unrelated, derived))
