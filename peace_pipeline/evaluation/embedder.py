"""PEACE among the methods of a study: what it reads of networks, by both senses and by weights alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from peace_pipeline.encoder.embed import embed_stacks
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.population import Cohort
from peace_pipeline.evaluation.readings import Readings, Vectors

PEACE, WEIGHTS_ALONE = "peace", "peace_weights"
OWN = {PEACE: "PEACE", WEIGHTS_ALONE: "PEACE, weights alone"}
"""PEACE's own methods, by both senses and by one, and their titles."""


class Embedder:
    """Reads the vectors of each network as the index holds them: by both senses, and beside it by weights alone; and
    how many networks it does a second."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.networks, self.seconds = 0, 0.0

    def __call__(self, cohort: Cohort) -> list[Vectors]:
        """Vectors (dimension + learned,) of each network."""
        start = time.perf_counter()
        responses = {each.key: each for each in cohort.responses if each}
        embedded = {
            each.key: each for each in embed_stacks(self.encoder, [cohort.stack], responses=responses)
        }
        self.seconds += time.perf_counter() - start
        self.networks += len(cohort)
        ordered = (embedded[key] for key in cohort.stack.keys)
        return [np.concatenate([each.network, each.weights]).astype(np.float64) for each in ordered]

    def parted(self, found: Mapping[str, Readings]) -> dict[str, Readings]:
        """What was read, with both of PEACE's methods."""
        both, size = found[PEACE], self.encoder.config.dimension
        return dict(found) | {
            PEACE: replace(both, vectors=[vector[:size] for vector in both.vectors]),
            WEIGHTS_ALONE: replace(both, vectors=[vector[size:] for vector in both.vectors]),
        }

    @property
    def rate(self) -> float:
        """Networks a second."""
        return self.networks / self.seconds
