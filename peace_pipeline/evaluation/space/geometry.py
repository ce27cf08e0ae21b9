"""Maps and clusters of vectors."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import davies_bouldin_score, silhouette_samples

from peace_pipeline.evaluation.representations import Matrix
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.space.results import Map

UMAP_NEIGHBOURS, PERPLEXITY = 15, 30.0
UMAP, T_SNE = "UMAP", "t-SNE"


def maps(vectors: Matrix, seed: int) -> dict[str, Map]:
    """UMAP (McInnes et al. 2018) and t-SNE (van der Maaten & Hinton 2008) of vectors (networks, length), by cosine."""
    from umap import UMAP as Umap

    neighbours = min(UMAP_NEIGHBOURS, len(vectors) - 1)
    drawn = vectors.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small samples, and of networks without a vector
        points = {
            UMAP: Umap(
                n_neighbors=neighbours, metric="cosine", init="pca", random_state=seed, n_jobs=1
            ).fit_transform(drawn),
            T_SNE: TSNE(
                perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3),
                metric="cosine",
                init="pca",
                random_state=seed,
            ).fit_transform(drawn),
        }
    nearest = max(1, min(5, (len(vectors) - 1) // 2))
    return {
        name: Map(
            found.astype(np.float64),
            float(trustworthiness(vectors, found, n_neighbors=nearest, metric="cosine")),
        )
        for name, found in points.items()
    }


def clustered(vectors: Matrix, labels: NDArray[np.str_], resampling: Resampling) -> tuple[Resampled, float]:
    """The mean silhouette by cosine (Rousseeuw 1987: 1 is apart, 0 is mixed, negative is nearer to another class), and
    the Davies-Bouldin index (1979: the smaller, the more apart) of labelled vectors.

    The index has no interval: networks that are drawn twice would make every cluster look tighter.
    """
    silhouettes = silhouette_samples(vectors, labels, metric="cosine")
    return resampling.mean(silhouettes), float(davies_bouldin_score(vectors, labels))
