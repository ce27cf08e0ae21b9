"""The study of scalability: costs by the size of networks, by their number, and by the rows of the index."""

from __future__ import annotations

from typing import Any

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.population import is_embedded
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.scalability.embedding import by_number, by_size
from peace_pipeline.evaluation.scalability.indexing import Vectors, by_rows
from peace_pipeline.evaluation.scalability.results import DEFAULT, Results, Sizes
from peace_pipeline.index.tables import MODELS, connect, is_complete
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.responses.standard import SKETCH
from peace_pipeline.zoo.listing import sample_listings

_FEWEST, _MOST = 2, 20_000
"""Networks of the lake that made-up vectors are drawn around."""
QUICK: dict[str, Any] = {"sizes": Sizes(weights=(300, 3000), networks=(8, 16), rows=(200, 1000), queries=12)}
"""Settings with which the study takes seconds."""


def measure_costs(
    lake: Lake, *, sizes: Sizes = DEFAULT, seed: int = 0, progress: Progress | None = None
) -> Results:
    """Measure with the current encoder: single networks and networks of the lake on one thread, the index on all cores.

    A million rows take some 10 GB in the folder for temporary files.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where fewer than two networks are in the lake's index.
    """
    version, encoder = store.load(lake)
    vectors = _indexed(lake)
    if len(vectors) < _FEWEST:
        raise NothingToReport("fewer than two networks are in the index")
    listed = sample_listings(lake, max(sizes.networks), seed=seed, where=is_embedded(lake, version))
    return Results(
        encoder_version=version,
        seed=seed,
        sizes=sizes,
        mean_weights=float(np.mean([listing.parameters for listing in listed])),
        by_size=by_size(lake, version, sizes.weights),
        by_number=by_number(lake, version, sizes.networks, seed),
        by_rows=by_rows(
            vectors,
            sizes.rows,
            {"weights": encoder.config.learned, "responses": SKETCH},
            queries=sizes.queries,
            seed=seed,
            progress=progress,
        ),
    )


def _indexed(lake: Lake) -> Vectors:
    """Vectors (networks, dimension) of the index, at most so many."""
    if not is_complete(lake):
        return np.empty((0, 0), np.float32)
    rows = connect(lake).open_table(MODELS.name).search().select(["vector"]).limit(_MOST).to_arrow()
    column = rows["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)
