"""Search in the index: by vector, by words in the cards, or by both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from peace_pipeline.index.tables import MODELS, connect, table_names
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted

_COLUMNS = ["model_id", "revision", "source", "task", "architecture"]
_PARTITIONS, _REFINED = 40, 50
"""Of the approximate index: how many of its parts are searched at least, and how many candidates for each answer are
compared exactly. At 200,000 and a million vectors of 128 dimensions both together find all of the ten nearest."""


class NoIndex(Exception):
    """The lake has no index yet."""


class BadFilter(ValueError):
    """A ``where`` that LanceDB can't run."""


@dataclass(frozen=True)
class Hit:
    """One answer. ``similarity`` is the cosine to the query, or ``None`` where words alone were asked for."""

    rank: int
    model_id: str
    revision: str
    source: str
    task: str | None
    architecture: str | None
    similarity: float | None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def _models(lake: Lake) -> Any:
    if lake.index.exists():
        database = connect(lake)
        if MODELS.name in table_names(database):
            return database.open_table(MODELS.name)
    raise NoIndex(f"no index in {lake.root}: `peace run` makes one when there is an encoder")


def indexed_vector(lake: Lake, model_id: str) -> np.ndarray | None:
    """The vector (dimension,) of a model in the index, or ``None`` where it isn't in it.

    Raises:
        NoIndex: where there is no index.
    """
    rows = (
        _models(lake).search().where(f"model_id = {quoted(model_id)}").select(["vector"]).limit(1).to_list()
    )
    return np.asarray(rows[0]["vector"], np.float32) if rows else None


def search(
    lake: Lake,
    vector: np.ndarray | None = None,
    *,
    k: int = 10,
    where: str | None = None,
    text: str | None = None,
    without: str | None = None,
) -> list[Hit]:
    """The ``k`` models nearest to ``vector`` by cosine, best by ``text`` (BM25 over cards), or by both fused.

    ``where`` is an SQL filter over the columns of ``models``; ``without`` is a model id to leave out.

    Raises:
        NoIndex: where there is no index.
        BadFilter: where ``where`` can't be run.
        ValueError: where neither ``vector`` nor ``text`` is given.
    """
    found = _query(_models(lake), vector, text)
    filters = [f"({where})"] if where else []
    filters += [f"model_id <> {quoted(without)}"] if without else []
    if filters:
        found = found.where(" AND ".join(filters), prefilter=True)
    try:
        rows = found.limit(k).to_list()
    except (RuntimeError, ValueError, OSError) as error:
        raise BadFilter(f"the index can't run this search: {str(error).splitlines()[0]}") from error
    if vector is not None:
        for row in rows:
            row["similarity"] = _cosine(row["vector"], vector)
        if text is None:
            rows.sort(key=lambda row: -row["similarity"])
    return [
        Hit(rank=rank, **{name: row.get(name) for name in (*_COLUMNS, "similarity")})
        for rank, row in enumerate(rows, 1)
    ]


def _query(models: Any, vector: np.ndarray | None, text: str | None) -> Any:
    if vector is None:
        if text is None:
            raise ValueError("neither a vector nor words to search for")
        return models.search(text, query_type="fts")
    if text is None:
        found = models.search(vector, vector_column_name="vector")
    else:
        found = models.search(query_type="hybrid", vector_column_name="vector").vector(vector).text(text)
    found = found.distance_type("cosine").refine_factor(_REFINED)
    return found.minimum_nprobes(_PARTITIONS).maximum_nprobes(0)


def _cosine(row: list[float], vector: np.ndarray) -> float:
    other = np.asarray(row, np.float64)
    return float(other @ vector / (np.linalg.norm(other) * np.linalg.norm(vector)))
