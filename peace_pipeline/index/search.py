"""Search in the index: by vector, by words in the cards, or by both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from peace_pipeline.index.tables import MODELS, connect, quoted, table_names
from peace_pipeline.lake import Lake

_COLUMNS = ["model_id", "revision", "source", "task", "architecture", "vector"]


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
        if MODELS in table_names(database):
            return database.open_table(MODELS)
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
    models = _models(lake)
    if vector is not None and text is not None:
        found = models.search(query_type="hybrid", vector_column_name="vector").vector(vector).text(text)
    elif vector is not None:
        found = models.search(vector, vector_column_name="vector").distance_type("cosine")
    elif text is not None:
        found = models.search(text, query_type="fts")
    else:
        raise ValueError("neither a vector nor words to search for")
    filters = [f"({where})"] if where else []
    filters += [f"model_id <> {quoted(without)}"] if without else []
    if filters:
        found = found.where(" AND ".join(filters), prefilter=True)
    try:
        rows = found.limit(k).to_list()
    except (RuntimeError, ValueError, OSError) as error:
        raise BadFilter(f"the index can't run this search: {str(error).splitlines()[0]}") from error
    return [_hit(rank, row, vector) for rank, row in enumerate(rows[:k], 1)]


def _hit(rank: int, row: dict[str, Any], vector: np.ndarray | None) -> Hit:
    similarity = None
    if vector is not None:
        other = np.asarray(row["vector"], np.float64)
        similarity = float(other @ vector / (np.linalg.norm(other) * np.linalg.norm(vector)))
    fields = {name: row[name] for name in _COLUMNS if name != "vector"}
    return Hit(rank=rank, similarity=similarity, **fields)
