"""How usual a similarity is: the similarities of pairs of networks of the index, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peace_pipeline.index.search import By, open_vectors
from peace_pipeline.lake import Lake

NETWORKS = 1000
"""Drawn from a larger index: half a million pairs, so that a share of one in 10,000 is told from one in 20,000."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Background:
    """The cosines (pairs,) of all pairs of ``networks`` networks, in ascending order."""

    networks: int
    similarities: np.ndarray

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.similarities)

    def share(self, similarity: float) -> float | None:
        """The share of pairs that are at least as similar, to a rounding; ``None`` where there is no pair."""
        if not self.pairs:
            return None
        return 1 - float(np.searchsorted(self.similarities, similarity - _ROUNDING)) / self.pairs


def background(lake: Lake, by: By = "both", *, networks: int = NETWORKS, seed: int = 0) -> Background:
    """The background of similarities between networks compared ``by`` both senses or one; of a larger index that of so
    many networks at random.

    Raises:
        NoIndex: where there is no index.
    """
    table, column = open_vectors(lake, by)
    rows = table.count_rows()
    drawn = np.random.default_rng(seed).choice(rows, min(rows, networks), replace=False)
    found = table.take_offsets(sorted(drawn.tolist())).select([column]).to_arrow()[column].drop_null()
    if not len(found):
        return Background(0, np.empty(0, np.float32))
    vectors = found.combine_chunks().flatten().to_numpy().astype(np.float32).reshape(len(found), -1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return Background(len(vectors), np.sort(cosines))
