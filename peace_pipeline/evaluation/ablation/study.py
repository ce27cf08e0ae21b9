"""The study of parts: every variant trained over seeds, judged on the same networks of test runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.ablation.results import ACROSS, ALL, ALONE, Results, Scored
from peace_pipeline.evaluation.ablation.variants import FULL, VARIANTS, Variant
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.invariance import Movements, by_weights
from peace_pipeline.evaluation.retraining import DEFAULT, Judge, Size, Trainings
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress

QUICK: dict[str, Any] = {
    "variants": {name: VARIANTS[name] for name in (FULL, "no-canonical")},
    "size": Size(epochs=1, seeds=1, networks=30),
}
"""Settings with which the study takes seconds."""


def leave_out(
    lake: Lake,
    *,
    variants: Mapping[str, Variant] = VARIANTS,
    size: Size = DEFAULT,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Train every variant (the full one among them) over seeds, and judge all on the same networks. What was trained is
    kept, so that a study that was stopped goes on.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where the lake has too few networks to train on or to be found.
    """
    judge = Judge.of(lake, size.networks, seed)
    recipes = {
        (name, number): variant.recipe(size.epochs).seeded(seed + number)
        for name, variant in variants.items()
        for number in range(size.seeds)
    }
    trainings = Trainings(lake, lake.root / "studies" / "ablation")
    scored: dict[str, list[Scored]] = {name: [] for name in variants}
    for done, ((name, _), recipe) in enumerate(recipes.items()):
        if progress:
            progress(done, len(recipes), variants[name].title)
        scored[name].append(_scored(trainings.encoder(recipe), judge, seed))
    raw = judge.baseline("raw_responses")
    return Results(
        encoder_version=store.load(lake)[0],
        seed=seed,
        size=size,
        variants=variants,
        runs=[listing.run for listing in judge.listings],
        scored=scored,
        raw={ALL: judge.found(raw), ACROSS: judge.found(raw, elsewhere=True)},
    )


def _scored(encoder: Encoder, judge: Judge, seed: int) -> Scored:
    likeness = judge.likeness(encoder)
    movements = Movements(by_weights(encoder), judge.stacks, torch.float32, seed)
    return Scored(
        {
            ALL: judge.found(likeness[PEACE]),
            ACROSS: judge.found(likeness[PEACE], elsewhere=True),
            ALONE: judge.found(likeness[WEIGHTS_ALONE]),
        },
        still=max(movements.still().values(), default=float(np.nan)),
        broken=movements.broken(1.0),
        noise=movements.noise(),
    )
