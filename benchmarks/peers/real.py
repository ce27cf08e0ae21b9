"""Real networks: are the members of an ensemble nearer to each other than to other networks?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import embed_stacks
from peace_pipeline.evaluation.baselines.flattened import values
from peace_pipeline.evaluation.baselines.statistics import canonical_features, features
from peace_pipeline.evaluation.population import Cohort, cohorts, read_listed
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import Listing, listings

from .methods import PEACE, WEIGHTS
from .scoring import Figure, figure
from .tables import Cells, Table
from .untrained import cosine
from .zoo import Zoo

NOTE = (
    "How often two members of an ensemble are more alike than the one and any decoy, with 95% bootstrap intervals over "
    "pairs. The packages hold no other networks of an ensemble's shape, so decoys are made of its members: each "
    "tensor's values shuffled, which keeps all statistics of a tensor. The last column counts what PEACE has of it in "
    "the lake (vectors of both senses) against all other networks of the packages."
)
ENSEMBLES = ("admet_classification/", "admet_regression/", "mtsplice_deep", "mtsplice")
DECOYS = 4
Reader = Callable[[Cohort], NDArray[np.floating]]


def measure(zoo: Zoo) -> list[Table]:
    """A column an ensemble, and how many networks were run."""
    lake = zoo.lake
    found = [one for one in listings(lake) if not one.task]
    readers: dict[str, Reader] = {
        WEIGHTS: _embedder(lake, zoo.version),
        "Flattened weights": values,
        "Layer statistics": features,
        "Layer statistics, scale-canonical": canonical_features,
    }
    cells: Cells = {name: {} for name in readers}
    everyone: Cells = {PEACE: {}}
    stored = Zoo(lake, zoo.version, found, {})
    for ensemble, members in _ensembles(found).items():
        (cohort,) = cohorts(read_listed(lake, members))
        decoys = _shuffled(cohort)
        for name, reader in readers.items():
            own, others = reader(cohort), np.concatenate([reader(one) for one in decoys])
            cells[name][ensemble] = _rate(
                _standardised(own, others) if "statistics" in name else (own, others)
            )
        if "vector" in stored.senses:
            vectors, inside = (
                stored.senses["vector"],
                np.isin([one.model_id for one in found], cohort.stack.keys),
            )
            known = np.isfinite(vectors).all(1)
            everyone[PEACE][ensemble] = _rate((vectors[inside & known], vectors[~inside & known]))
    share = len(stored.responses) / len(found)
    counted = Figure(*[share] * 5, len(found), ())
    return [
        Table("Members of ensembles against decoys of their shape", cells),
        Table("Members of ensembles against all other networks", everyone),
        Table(f"Share of the {len(found)} networks that could be run", {PEACE: {"run": counted}}),
    ]


def _ensembles(found: list[Listing]) -> dict[str, list[Listing]]:
    """Ensemble → its members."""
    groups: dict[str, list[Listing]] = {}
    for one in found:
        name = next((name for name in ENSEMBLES if f"/{name}" in one.model_id), None)
        if name:
            groups.setdefault(name.strip("/"), []).append(one)
    return groups


def _embedder(lake: Lake, version: str) -> Reader:
    _, encoder = store.load(lake, version)

    def read(cohort: Cohort) -> NDArray[np.float32]:
        return np.stack([each.weights for each in embed_stacks(encoder, [cohort.stack])])

    return read


def _shuffled(cohort: Cohort) -> list[Cohort]:
    """The members with the values of each tensor in random order, several times."""
    generator = torch.Generator().manual_seed(0)

    def shuffled(tensor: torch.Tensor) -> torch.Tensor:
        order = torch.rand(tensor.flatten(1).shape, generator=generator).argsort(1)
        return tensor.flatten(1).gather(1, order).view_as(tensor)

    return [
        cohort.transformed(lambda stack: {name: shuffled(one) for name, one in stack.tensors.items()})
        for _ in range(DECOYS)
    ]


def _standardised(
    own: NDArray[np.floating], others: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """In deviations over all of them, as layer statistics are compared."""
    both = np.concatenate([own, others])
    mean, std = both.mean(0), np.maximum(both.std(0), 1e-12)
    return (own - mean) / std, (others - mean) / std


def _rate(vectors: tuple[NDArray[np.floating], NDArray[np.floating]]) -> Figure:
    """Of ordered pairs of members."""
    own, others = vectors
    places = np.arange(len(own) + len(others))
    similarity = cosine(np.concatenate(vectors), places[: len(own)], places)
    nearest = similarity[:, len(own) :].max(1, keepdims=True)
    nearer = similarity[:, : len(own)] > nearest
    return figure(nearer[~np.eye(len(own), dtype=bool)][None].astype(float))
