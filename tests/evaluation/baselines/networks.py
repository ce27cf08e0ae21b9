"""Networks of two architectures and two tasks, and what a baseline says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from peace_pipeline.evaluation.baselines.registry import Similarity, all_baselines
from peace_pipeline.evaluation.population import Listed
from peace_pipeline.evaluation.readings import read

from ..conftest import CARD, listed, networks_of

CARDS = [
    CARD.format(dataset=d, architecture="mlp", run=f"{d}-s0", seed=0, labels="true") for d in ("cat", "dog")
]


def population(seed: int, count: int = 12) -> list[Listed]:
    """As many MLPs and CNNs of two tasks; the second task's weights are larger."""
    found = []
    for architecture in ("mlp", "cnn"):
        for place, network in enumerate(networks_of(architecture, count, seed)):
            task = place % 2
            tensors = {name: value * (1 + task) for name, value in network.tensors.items()}
            larger = replace(network, key=f"{network.key}-{seed}", tensors=tensors)
            fields = {"architecture": architecture, "task": ("cat", "dog")[task], "card": CARDS[task]}
            found.append(listed(larger, **fields))
    return found


def similarity(
    name: str, queries: Sequence[Listed], gallery: Sequence[Listed], train: Sequence[Listed] = ()
) -> Similarity:
    """Similarities (queries, gallery) by a baseline."""
    baseline = all_baselines()[name]
    return baseline.similarity(
        *(read(side, {name: baseline.reads})[name] for side in (queries, gallery, train))
    )
