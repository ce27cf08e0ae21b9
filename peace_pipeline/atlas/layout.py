"""Where each network lies on the map: UMAP of the vectors, by cosine."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

_FEWEST = 10
"""Of fewer networks UMAP has no neighbourhoods to keep."""


def lay_out(
    vectors: NDArray[np.float32],
    *,
    seed: int,
    fitted: int = 20_000,
    neighbours: int = 15,
    least_distance: float = 0.6,
) -> NDArray[np.float32]:
    """Places (networks, 2) of vectors (networks, dimension) of unit norm; the same ``seed`` gives the same places.

    UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426) is fitted on the first ``fitted`` vectors, and places the
    others among them. Fewer than ten are laid out by their principal components.
    """
    if len(vectors) < _FEWEST:
        places = np.zeros((len(vectors), 2), np.float32)
        components = min(2, *vectors.shape, len(vectors) - 1)
        if components:
            places[:, :components] = PCA(components, random_state=seed).fit_transform(vectors)
        return places
    import umap

    sample = vectors[:fitted]
    projection = umap.UMAP(
        n_neighbors=min(neighbours, len(sample) - 1),
        min_dist=least_distance,
        metric="cosine",
        init="pca",
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_jobs value", UserWarning)
        places = projection.fit_transform(sample)
        if len(vectors) > fitted:
            places = np.concatenate([places, projection.transform(vectors[fitted:])])
    return np.asarray(places, np.float32)
