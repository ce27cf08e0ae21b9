"""The study of parts: every variant trained over seeds, judged on the same networks of test runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.ablation.diversity import few_tasks
from peace_pipeline.evaluation.ablation.results import ACROSS, ALL, ANSWERS, WEIGHTS, Results, Scored
from peace_pipeline.evaluation.ablation.variants import FULL, VARIANTS, Variant, with_effect
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.invariance import Movements, by_weights
from peace_pipeline.evaluation.retraining import DEFAULT, RESPONSES_ALONE, Judge, Size, Trainings
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress

QUICK: dict[str, Any] = {
    "variants": {name: VARIANTS[name] for name in (FULL, "no-canonical")},
    "size": Size(epochs=1, seeds=1, networks=30),
    "diversity": False,
}
"""Settings with which the study takes seconds."""


def leave_out(
    lake: Lake,
    *,
    variants: Mapping[str, Variant] = VARIANTS,
    size: Size = DEFAULT,
    diversity: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Train every variant (the full one among them) that differs from the full one on this lake over seeds, and judge
    all on the same networks; and by ``diversity`` on fewer and fewer tasks. What was trained is kept, so that a study
    that was stopped goes on.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where the lake has too few networks to train on or to be found.
    """
    judge = Judge.of(lake, size.networks, seed)
    variants = with_effect(lake, variants)
    recipes = {
        (name, number): variant.recipe(size.epochs).seeded(seed + number)
        for name, variant in variants.items()
        for number in range(size.seeds)
    }
    trainings = Trainings(lake)
    scored: dict[tuple[str, int], Scored] = {}
    for key, encoder in trainings.encoders(recipes, progress):
        scored[key] = _scored(encoder, judge, seed)
        if progress:
            progress(len(scored), len(recipes), variants[key[0]].title)
    arms = few_tasks(trainings, judge, size, seed, progress) if diversity else []
    raw = judge.baseline("raw_responses")
    return Results(
        encoder_version=store.load(lake)[0],
        seed=seed,
        size=size,
        variants=variants,
        runs=[listing.run for listing in judge.listings],
        scored={name: [scored[name, number] for number in range(size.seeds)] for name in variants},
        arms=arms,
        raw={ALL: judge.found(raw), ACROSS: judge.found(raw, elsewhere=True)},
    )


def _scored(encoder: Encoder, judge: Judge, seed: int) -> Scored:
    likeness = judge.likeness(encoder)
    found = {ALL: judge.found(likeness[PEACE]), ACROSS: judge.found(likeness[PEACE], elsewhere=True)}
    alone = {WEIGHTS: WEIGHTS_ALONE, ANSWERS: RESPONSES_ALONE}
    found |= {scope: judge.found(likeness[name]) for scope, name in alone.items() if name in likeness}
    if WEIGHTS not in found:
        return Scored(found)
    movements = Movements(by_weights(encoder), judge.stacks, torch.float32, seed)
    return Scored(
        found,
        still=max(movements.still().values(), default=float(np.nan)),
        broken=movements.broken(1.0),
        noise=movements.noise(),
    )
