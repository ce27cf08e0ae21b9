"""The transfer study: does retrieval find the networks that are worth fine-tuning?

Every candidate is fine-tuned on every target under every seed, so what any choice would have given is looked up, and
hindsight is exact. Nothing is chosen on a target's test examples but hindsight, and no candidate was trained on them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.derivatives import InMemory, Specimen, specimen
from peace_pipeline.evaluation.embedder import PEACE, Embedder
from peace_pipeline.evaluation.population import Listed, is_embedded, read_listed
from peace_pipeline.evaluation.readings import Reader, read
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.transfer.methods import (
    LIKENESS,
    choose,
    joined,
    likeness,
    of_own_shape,
    recommended,
    rules_of_thumb,
)
from peace_pipeline.evaluation.transfer.outcomes import Floats, Outcomes
from peace_pipeline.evaluation.transfer.results import Results
from peace_pipeline.evaluation.transfer.runs import Runs
from peace_pipeline.evaluation.transfer.targets import TARGETS, Target, draw
from peace_pipeline.evaluation.transfer.tuning import Budget, State, Tuned
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.runners.model import Model
from peace_pipeline.responses.runners.trained import fits, mismatch
from peace_pipeline.responses.running import Limits, ready, run
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.threads import one_thread
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, Listing, sample_listings

CARD = 65_536
MOST = 80
"""Candidates, at most: drawn from a larger zoo."""
DEFAULT = Budget()
QUERY_STEPS = 400
"""Of training a query: about as many as the networks of a small zoo are trained for."""
QUICK: dict[str, Any] = {
    "targets": TARGETS[:2],
    "seeds": 1,
    "k": 2,
    "most": 12,
    "budget": Budget(steps=(0, 5)),
    "query_steps": 5,
}
"""Settings with which the study takes seconds."""


@dataclass(frozen=True)
class _Shape:
    """Candidates of one config.json, and their places among all."""

    config: dict[str, Any]
    candidates: list[Specimen]
    places: list[int]


def fine_tune_all(
    lake: Lake,
    *,
    targets: Sequence[Target] = TARGETS,
    seeds: int = 3,
    k: int = 5,
    most: int = MOST,
    budget: Budget = DEFAULT,
    query_steps: int = QUERY_STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Fine-tune the candidates on all targets, and let every method choose ``k`` of them for each.

    Candidates are networks of the trained zoo's test runs, at most so many as ``most`` says, drawn at random. Queries
    are new networks, one of each shape of the candidates, trained on a target's training examples for ``query_steps``.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where there are too few candidates to choose among.
    """
    version, encoder = store.load(lake)
    listed, shapes = _candidates(lake, version, most, seed)
    if len(listed) <= k:
        raise NothingToReport("no trained zoo with enough networks of test runs to choose among")
    runs = Runs(lake.reports / "transfer" / "runs")
    tuned, trained = _tuned(
        runs, shapes, targets, seeds, (budget, replace(budget, steps=(query_steps,))), progress
    )
    outcomes, tried = _outcomes(tuned, shapes, len(listed), budget, (len(targets), seeds))

    embedder = Embedder(encoder)
    readers: dict[str, Reader | None] = {name: all_baselines()[name].reads for name in LIKENESS}
    readers[PEACE] = embedder
    queries, own = _queries(trained, shapes, targets, outcomes.possible.shape)
    asked = embedder.parted(read(queries, readers))
    gallery = embedder.parted(read(read_listed(lake, listed), readers))
    order = [member.listing.model_id for member in gallery[PEACE].members]
    places = [order.index(each.model_id) for each in listed]
    found = {name: of_own_shape(values[:, places], own) for name, values in likeness(asked, gallery).items()}
    vectors = np.asarray(gallery[PEACE].matrix, np.float32)[places]
    tried |= recommended(vectors, tried.pop("evidence"), found["bm25"], outcomes.possible)
    everywhere = {
        name: np.broadcast_to(values, outcomes.possible.shape)
        for name, values in rules_of_thumb(listed).items()
    }
    return Results(
        encoder_version=version,
        seed=seed,
        k=k,
        budget=budget,
        targets=targets,
        seeds=seeds,
        names=[each.model_id for each in listed],
        queries=len(queries),
        query_steps=query_steps,
        query_accuracy=float(np.mean([one.accuracy[-1, -1] for one in trained.values()])),
        fine_tuned=int(outcomes.possible.sum()),
        outcomes=outcomes,
        chosen=choose(found | joined(found) | everywhere | tried, outcomes, k, seed),
    )


def _candidates(lake: Lake, version: str, most: int, seed: int) -> tuple[list[Listing], list[_Shape]]:
    """Networks that can be built, and the same by shape."""
    where = f"source = 'trained' AND task IS NOT NULL AND split = '{TEST}' AND {is_embedded(lake, version)}"
    drawn = sample_listings(lake, most, seed=seed, where=where, card_size=CARD)
    records = Current(lake).records(each.model_id for each in drawn)
    listed: list[Listing] = []
    shapes: dict[str, _Shape] = {}
    for each in drawn:
        network = specimen(records, each)
        if not fits(network.config) or mismatch(network.config, network.state):
            continue
        shape = shapes.setdefault(json.dumps(network.config, sort_keys=True), _Shape(network.config, [], []))
        shape.candidates.append(network)
        shape.places.append(len(listed))
        listed.append(each)
    return listed, list(shapes.values())


Unit = tuple[int, int, int]
"""The places of a target, a seed and a shape."""


def _tuned(
    runs: Runs,
    shapes: Sequence[_Shape],
    targets: Sequence[Target],
    seeds: int,
    budgets: tuple[Budget, Budget],
    progress: Progress | None,
) -> tuple[dict[Unit, Tuned], dict[Unit, Tuned]]:
    """All that was fine-tuned, and the queries, each by its budget; what can't read a target's inputs is left out."""
    found: dict[Unit, Tuned] = {}
    queries: dict[Unit, Tuned] = {}
    done, total = 0, len(targets) * seeds * len(shapes)
    with one_thread():
        for place, target in enumerate(targets):
            for seed in range(seeds):
                drawn = draw(target, seed)
                for number, shape in enumerate(shapes):
                    if drawn.test.inputs(shape.config) is not None:
                        unit = place, seed, number
                        found[unit] = runs.tuned(shape.config, shape.candidates, drawn, seed, budgets[0])
                        queries[unit] = runs.tuned(shape.config, [], drawn, seed, budgets[1])
                    done += 1
                    if progress:
                        progress(done, total)
    return found, queries


def _outcomes(
    tuned: dict[Unit, Tuned],
    shapes: Sequence[_Shape],
    candidates: int,
    budget: Budget,
    size: tuple[int, int],
) -> tuple[Outcomes, dict[str, Floats]]:
    """What came of all networks, and the scores of the methods that try candidates on the training examples."""
    curves = {
        name: np.full((*size, candidates + len(shapes), len(budget.steps)), np.nan)
        for name in ("accuracy", "f1", "validation")
    }
    seconds = np.full((*size, candidates + len(shapes)), np.nan)
    tried = {name: np.full((*size, candidates), -np.inf) for name in ("logme", "evidence", "leep")}
    for (target, seed, number), one in tuned.items():
        places = [*shapes[number].places, candidates + number]
        for name, values in curves.items():
            values[target, seed, places] = getattr(one, name)
        seconds[target, seed, places] = one.seconds
        for name, scores in tried.items():
            scores[target, seed, shapes[number].places] = getattr(one, name)
    alike = np.empty(candidates, np.int64)
    for number, shape in enumerate(shapes):
        alike[shape.places] = candidates + number
    return Outcomes(budget.steps, candidates, **curves, seconds=seconds, alike=alike), tried


def _queries(
    trained: dict[Unit, Tuned],
    shapes: Sequence[_Shape],
    targets: Sequence[Target],
    size: tuple[int, ...],
) -> tuple[list[Listed], NDArray[np.int64]]:
    """The queries as networks of a lake, and the place of that of each candidate's shape (targets, seeds, candidates):
    -1 where there is none."""
    queries: list[Listed] = []
    own = np.full(size, -1)
    for (target, seed, number), one in trained.items():
        own[target, seed, shapes[number].places] = len(queries)
        key = f"query:{targets[target].name}-{seed}-{number}"
        queries.append(query(key, shapes[number].config, one.scratch, targets[target].description))
    return queries, own


def query(key: str, config: dict[str, Any], state: State, description: str) -> Listed:
    """A network in memory as if it were in the lake: run, with the description of its task as its card."""
    opened = OpenNetwork.of(Checkpoint({"": InMemory(state)}), config)
    begun = ready(Model(key, opened.checkpoint, config, Path()), Limits())
    answers = None if isinstance(begun, NotRun) else next(run([begun], Limits()))
    listing = Listing(
        key, "", "", "query", config["model_type"], None, None, key, False, None,
        opened.wiring.method, opened.logical.parameters, card=description,
    )  # fmt: skip
    return Listed(listing, opened.in_memory(key), answers if isinstance(answers, Response) else None)
