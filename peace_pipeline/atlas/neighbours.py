"""The nearest networks of each network, in the space of the embeddings itself and not on the map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from peace_pipeline.progress import Progress


class Neighbours(NamedTuple):
    """``places`` (networks, k) of the nearest others, nearest first, and the ``cosines`` (networks, k) to them."""

    places: NDArray[np.uint32]
    cosines: NDArray[np.float32]

    def firsts(self, vectors: NDArray[np.float32], apart: float = 1e-4) -> NDArray[np.int64]:
        """Of each network the first one with the same vector (networks,): itself, or one that it is a copy of.

        ``vectors`` (networks, dimension) are the same up to the distance ``apart``, because copies in disguise differ
        by rounding. Cosines in single precision tell no distances below .001.
        """
        same = np.zeros(self.places.shape, bool)
        for rank, (others, cosines) in enumerate(zip(self.places.T, self.cosines.T, strict=True)):
            near = np.flatnonzero(cosines > 1 - 1e-5)
            same[near, rank] = np.linalg.norm(vectors[near] - vectors[others[near]], axis=1) <= apart
        rows, ranks = np.nonzero(same)
        pairs = rows, self.places[rows, ranks]
        graph = coo_array((np.ones(len(rows), bool), pairs), shape=(len(self.places),) * 2)
        _, groups = connected_components(graph, directed=False)
        _, first = np.unique(groups, return_index=True)
        return first[groups]


def nearest(
    vectors: NDArray[np.float32], k: int, *, progress: Progress | None = None, room: int = 2**26
) -> Neighbours:
    """The ``k`` nearest others of every vector by cosine (fewer where there are fewer); ``vectors`` have unit norm.

    Every vector is compared with every other, so many at a time that their cosines take ``room`` bytes.
    """
    count = len(vectors)
    k = min(k, count - 1)
    rows = max(room // (4 * count), 1)
    all_vectors = torch.from_numpy(np.ascontiguousarray(vectors))
    places = np.empty((count, k), np.uint32)
    cosines = np.empty((count, k), np.float32)
    for start in range(0, count, rows):
        part = all_vectors[start : start + rows]
        found = part @ all_vectors.T
        own = torch.arange(len(part))
        found[own, own + start] = -torch.inf
        best = found.topk(k)
        places[start : start + rows] = best.indices
        cosines[start : start + rows] = best.values.clamp(-1, 1)
        if progress:
            progress(min(start + rows, count), count)
    return Neighbours(places, cosines)
