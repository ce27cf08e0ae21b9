"""Where each network lies on the map: UMAP of the vectors, by cosine."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from peace_pipeline.atlas.neighbours import Neighbours

_FEWEST = 10
"""Of fewer networks UMAP has no neighbourhoods to keep."""


def lay_out(
    vectors: NDArray[np.float32], neighbours: Neighbours, *, seed: int, least_distance: float = 0.6
) -> NDArray[np.float32]:
    """Places (networks, 2) of vectors (networks, dimension) of unit norm; the same ``seed`` gives the same places.

    UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426) keeps the ``neighbours`` near each other. It drives equal
    vectors apart, too, so these are put into one place. Fewer than ten networks are laid out by their principal
    components.
    """
    if len(vectors) < _FEWEST:
        places = np.zeros((len(vectors), 2), np.float32)
        components = min(2, *vectors.shape, len(vectors) - 1)
        if components:
            places[:, :components] = PCA(components, random_state=seed).fit_transform(vectors)
        return places[neighbours.firsts(vectors)]
    import umap

    itself = np.arange(len(vectors), dtype=np.int32)[:, None]
    others = min(neighbours.places.shape[1], len(vectors) - 2)
    known = np.hstack([itself, neighbours.places[:, :others].astype(np.int32)])
    cosines = neighbours.cosines[:, :others]
    distances = np.hstack([np.zeros_like(itself, np.float32), np.maximum(1 - cosines, 0)])
    projection = umap.UMAP(
        n_neighbors=known.shape[1],
        precomputed_knn=(known, distances),
        min_dist=least_distance,
        metric="cosine",
        init="pca",
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_jobs value|precomputed_knn", UserWarning)
        places = projection.fit_transform(vectors)
    return np.asarray(places, np.float32)[neighbours.firsts(vectors)]
