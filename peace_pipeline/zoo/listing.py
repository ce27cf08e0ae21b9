"""Listings: what the lake says of the networks that can be embedded, without their weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.zoo.current import SCHEMA, Current

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Listing:
    """A current model whose layers are in the lake, with what pairs and reports need of its record.

    ``run`` names the training run (models that don't say are a run of their own), ``twin_of`` the run of which it is
    a hard-negative twin; ``task`` joins the card's task and datasets; ``recipe`` is ``None`` where the card names
    none.
    """

    model_id: str
    revision: str
    batch: str
    source: str
    architecture: str | None
    task: str | None
    recipe: str | None
    run: str
    shuffled_labels: bool
    accuracy: float | None
    method: str
    parameters: int
    card: str
    twin_of: str | None = None

    @property
    def split(self) -> str:
        """Which side of the 60/15/25 split the training run is on; twins, which begin alike, are on one side."""
        return split_of(self.twin_of or self.run)


_COLUMNS = [
    "model_id", "revision", "batch", "source", "architecture", "task", "datasets", "hyperparameters", "metrics", "card"
]  # fmt: skip
_LISTINGS = """
    WITH wired AS (SELECT *, parse_filename(filename, true) AS batch FROM read_parquet($wirings, filename = true))
    SELECT model_id, newest.revision, batch, source, architecture,
           CASE WHEN len(datasets) > 0
                THEN concat_ws(' · ', task, array_to_string(list_sort(datasets), ', ')) END AS task,
           hyperparameters['recipe'] AS recipe,
           coalesce(source || ':' || hyperparameters['run'], model_id) AS run,
           source || ':' || hyperparameters['twin_of'] AS twin_of,
           coalesce(hyperparameters['labels'] = 'shuffled', false) AS shuffled_labels,
           metrics['accuracy'] AS accuracy, wired.method, wired.parameters, coalesce(card, '') AS card
    FROM newest JOIN wired USING (model_id, batch)
    WHERE wired.status = 'new'
    ORDER BY model_id
"""


def listings(lake: Lake) -> list[Listing]:
    """All current networks whose layers are in the lake, by model id."""
    if not any((lake.root / "wirings").glob("[!.]*.parquet")):
        return []
    schema = pa.schema([SCHEMA.field(name) for name in _COLUMNS])
    rows = Current(lake).scan(_COLUMNS, "status = 'new'")
    newest = pa.RecordBatchReader.from_batches(schema, rows)
    table = query(_LISTINGS, {"newest": newest}, wirings=lake.wirings("[!.]*"))
    return [Listing(**row) for row in table.to_pylist()]


def split_of(run: str) -> str:
    """60% of runs train, 15% validate, 25% test, by a hash of the run's name."""
    share = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8]) / 2**64
    return TRAIN if share < 0.60 else VALIDATION if share < 0.75 else TEST
