"""Search in the index: by vector, by words, or by both; for networks, or for outputs of networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from peace_pipeline.index.tables import MODELS, OUTPUTS, IndexTable, connect, table_names, worded
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import is_in, quoted
from peace_pipeline.responses.table import why_silent
from peace_pipeline.zoo.current import newest_batch

if TYPE_CHECKING:
    from lancedb.table import Table

By: TypeAlias = Literal["both", "weights", "responses"]
"""What is compared of networks: all that is known of them, their weights alone, or their answers alone."""
_COLUMN: dict[By, str] = {"both": "vector", "weights": "weights", "responses": "responses"}
_OF_HITS = [
    "model_id",
    "revision",
    "source",
    "task",
    "architecture",
    "similarity",
    "score",
    "license",
    "parameters",
]
_PARTITIONS, _REFINED = 40, 50
"""Of the approximate index: how many of its parts are searched at least, and how many candidates for each answer are
compared exactly. At 200,000 and a million vectors of 128 dimensions both together find all of the ten nearest."""


class NoIndex(Exception):
    """The lake has no index yet, or one that lacks what is asked for."""


class BadFilter(ValueError):
    """A ``where`` that LanceDB can't run."""


class NoResponses(Exception):
    """A network without answers to compare, and why there are none, where that is known."""

    def __init__(self, name: str, reason: str | None) -> None:
        super().__init__(f"{name} has no responses to compare" + (f": {reason}" if reason else ""))


class NothingWasRun(Exception):
    """No network of the index was run, or none of those that are asked for."""


class UnknownOutput(Exception):
    """An output that no network in the index has."""


@dataclass(frozen=True)
class Hit:
    """One answer.

    ``similarity`` is the cosine to the query, or ``None`` where words alone were asked for; ``as_similar`` the share of
    the index's pairs of networks that are at least as similar; ``score`` how well it has the words that were asked for
    (BM25; with a query beside them that of the fused ranks), and ``uri`` where its files lie. ``same_senses`` says
    whether of it and the query both or neither have answers, where they are compared by all that is known of them.
    """

    rank: int
    model_id: str
    revision: str
    source: str
    task: str | None
    architecture: str | None
    similarity: float | None
    as_similar: float | None = None
    score: float | None = None
    datasets: list[str] = field(default_factory=list)
    accuracy: float | None = None
    license: str | None = None
    parameters: int | None = None
    uri: str | None = None
    same_senses: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class OutputHit:
    """One output: the ``place`` (from 0) among those of its network, and its ``label`` where it has one.

    ``similarity`` is the cosine to the output that was asked for, or ``None`` where words alone were asked for.
    """

    rank: int
    model_id: str
    revision: str
    place: int
    label: str | None
    similarity: float | None
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def indexed_vector(lake: Lake, model_id: str, by: By = "both") -> np.ndarray | None:
    """The vector (dimension,) of a model in the index, or ``None`` where it isn't in it.

    Raises:
        NoIndex: where there is no index.
        NoResponses: where it is in the index, but has no answers and is compared by them.
    """
    column = _COLUMN[by]
    models = _open(lake, MODELS, column)
    rows = models.search().where(f"model_id = {quoted(model_id)}").select([column]).limit(1).to_list()
    if not rows:
        return None
    if rows[0][column] is None:
        batch = newest_batch(lake, model_id)
        raise NoResponses(model_id, why_silent(lake, batch, model_id) if batch else None)
    return np.asarray(rows[0][column], np.float32)


def silent(lake: Lake, model_ids: list[str]) -> set[str]:
    """Those of the models in the index that have no answers.

    Raises:
        NoIndex: where there is no index.
    """
    models = _open(lake, MODELS, _COLUMN["both"]).search().select(["model_id"])
    listed = ", ".join(map(quoted, model_ids))
    rows = models.where(f"model_id IN ({listed}) AND responses IS NULL").limit(None).to_list()
    return {row["model_id"] for row in rows}


def indexed_output(lake: Lake, name: str) -> tuple[str, np.ndarray]:
    """The model and the descriptor (width,) of the output ``MODEL:LABEL``: a label, or its place, of a model.

    Raises:
        NoIndex: where there is no index.
        UnknownOutput: where there is no such output in it.
    """
    cuts = [place for place, letter in enumerate(name) if letter == ":"]
    owners = is_in("model_id", (name[:cut] for cut in cuts))
    columns = ["model_id", "place", "label", "vector"]
    rows = _open(lake, OUTPUTS, "vector").search().where(owners).select(columns).limit(None).to_list()
    if not rows:
        raise UnknownOutput(
            f"{name} names no output in the index: give MODEL:LABEL, of a network that was run"
        )
    model_id = max((row["model_id"] for row in rows), key=len)
    label = name[len(model_id) + 1 :]
    own = sorted((row for row in rows if row["model_id"] == model_id), key=lambda row: row["place"])
    named = [row for row in own if row["label"] == label] or [
        row for row in own if str(row["place"]) == label
    ]
    if not named:
        has = ", ".join(row["label"] or str(row["place"]) for row in own)
        raise UnknownOutput(f"{model_id} has no output {label!r}; it has {has}")
    return model_id, np.asarray(named[0]["vector"], np.float32)


def search(
    lake: Lake,
    vector: np.ndarray | None = None,
    *,
    by: By = "both",
    k: int = 10,
    where: str | None = None,
    text: str | None = None,
    without: str | None = None,
) -> list[Hit]:
    """The ``k`` models nearest to ``vector`` by cosine, best by ``text`` (BM25 over ids, tags and what else is indexed
    by words), or by both fused.

    ``by`` says what ``vector`` is and what it is compared with; by answers only models that were run are found.
    ``where`` is an SQL filter over the columns of ``models``; ``without`` is a model id to leave out.

    Raises:
        NoIndex: where there is no index.
        BadFilter: where ``where`` can't be run.
        ValueError: where neither ``vector`` nor ``text`` is given, or fewer than one are asked for.
    """
    rows = _found(lake, MODELS, vector, text, _COLUMN[by], k, where, without)
    return [_hit(rank, row) for rank, row in enumerate(rows, 1)]


def search_outputs(
    lake: Lake,
    vector: np.ndarray | None = None,
    *,
    k: int = 10,
    where: str | None = None,
    label: str | None = None,
    without: str | None = None,
) -> list[OutputHit]:
    """The ``k`` outputs nearest to the descriptor ``vector`` by cosine, best by the words of ``label``, or both fused.

    ``where`` is an SQL filter over the columns of ``outputs``; ``without`` is a model id to leave out.

    Raises:
        NoIndex: where there is no index.
        BadFilter: where ``where`` can't be run.
        ValueError: where neither ``vector`` nor ``label`` is given, or fewer than one are asked for.
    """
    rows = _found(lake, OUTPUTS, vector, label, "vector", k, where, without)
    names = ["model_id", "revision", "place", "label", "similarity", "score"]
    return [OutputHit(rank, **{name: row.get(name) for name in names}) for rank, row in enumerate(rows, 1)]


def _hit(rank: int, row: Mapping[str, Any]) -> Hit:
    accuracies = [one["value"] for one in row.get("metrics") or [] if one["name"] == "accuracy"]
    told = {name: row.get(name) for name in _OF_HITS}
    told |= {"datasets": list(row.get("datasets") or []), "accuracy": next(iter(accuracies), None)}
    return Hit(rank=rank, **cast("Any", told))


def vectors(lake: Lake, where: str | None = None) -> tuple[list[str], np.ndarray]:
    """The model ids of the networks for which ``where`` holds, and their vectors (networks, dimension).

    Raises:
        NoIndex: where there is no index.
        BadFilter: where ``where`` can't be run.
    """
    found = _open(lake, MODELS, "vector").search().select(["model_id", "vector"])
    with _refused_filters():
        rows = (found.where(where) if where else found).limit(None).to_arrow()
    values = rows["vector"].combine_chunks().flatten().to_numpy()
    return rows["model_id"].to_pylist(), values.reshape(len(rows), values.size // max(len(rows), 1))


def described(lake: Lake, model_ids: Sequence[str]) -> dict[str, Hit]:
    """What the index knows of models by their ids."""
    listed = is_in("model_id", model_ids)
    rows = _open(lake, MODELS, "vector").search().where(listed).limit(None).to_list()
    place = {model_id: rank for rank, model_id in enumerate(model_ids, 1)}
    return {row["model_id"]: _hit(place[row["model_id"]], row) for row in rows}


def open_vectors(lake: Lake, by: By = "both") -> tuple[Table, str]:
    """The table of networks, and the name of its column of the vectors that networks are compared by.

    Raises:
        NoIndex: where there is no index.
    """
    return _open(lake, MODELS, _COLUMN[by]), _COLUMN[by]


def _open(lake: Lake, kind: IndexTable, column: str) -> Table:
    if lake.index.exists():
        database = connect(lake)
        if MODELS.name in table_names(database):
            if (
                kind.name in table_names(database)
                and column in (table := database.open_table(kind.name)).schema.names
            ):
                return table
            raise NoIndex(
                f"the index in {lake.root} is of an earlier version of PEACE: `peace run` makes it anew"
            )
    raise NoIndex(f"no index in {lake.root}: `peace run` makes one of the models of its sources")


def why_nothing(
    lake: Lake,
    kind: IndexTable = MODELS,
    *,
    by: By = "both",
    where: str | None = None,
    text: str | None = None,
) -> str:
    """Why a search found nothing, in words."""
    table = _open(lake, kind, "vector")
    rows, noun = table.count_rows(), "networks" if kind is MODELS else "outputs"
    if not rows:
        return f"the index has no {noun}" + (": none of its networks was run" if kind is OUTPUTS else "")
    left = table.count_rows(where) if where else rows
    if not left:
        return f"of its {rows:,} {noun} none has {where}"
    if text:
        there = f"the {left:,} {noun}" + (f" with {where}" if where else "")
        return f"no {', '.join(worded(table, kind))} of {there} has one of the words {text!r}"
    if by == "responses" and not table.count_rows("responses IS NOT NULL"):
        return f"of its {rows:,} networks none was run"
    return f"there is no other among the {left:,} {noun}" + (f" with {where}" if where else "")


def _found(
    lake: Lake,
    kind: IndexTable,
    vector: np.ndarray | None,
    text: str | None,
    column: str,
    k: int,
    where: str | None,
    without: str | None,
) -> list[Any]:
    """Rows of a table, best first, with their ``similarity`` where there is a ``vector``."""
    if k < 1:
        raise ValueError(f"k={k}: at least one answer is asked for")
    table = _open(lake, kind, column)
    if not table.count_rows():
        return []
    words = worded(table, kind) if text else []
    if text and not words:
        raise NoIndex(f"words are not indexed yet in {lake.root}: `peace run` does it, or is about to")
    filters = [f"({where})"] if where else []
    filters += [f"model_id <> {quoted(without)}"] if without else []
    filters += [f"{column} IS NOT NULL"] if vector is not None and kind.columns.field(column).nullable else []
    found = _query(table, vector, text, column, words)
    if filters:
        found = found.where(" AND ".join(filters), prefilter=True)
    with _refused_filters():
        rows = found.limit(k).to_list()
    for row in rows:
        row["score"] = row.get("_relevance_score", row.get("_score"))
    if vector is not None:
        for row in rows:
            row["similarity"] = _cosine(row[column], vector)
        if text is None:
            rows.sort(key=lambda row: -row["similarity"])
    return rows


@contextmanager
def _refused_filters() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        raise BadFilter(f"the index can't run this search: {str(error).splitlines()[0]}") from error


def _query(table: Table, vector: np.ndarray | None, text: str | None, column: str, words: list[str]) -> Any:
    from lancedb.query import MultiMatchQuery

    if vector is None:
        if text is None:
            raise ValueError("neither a vector nor words to search for")
        return table.search(MultiMatchQuery(text, words), query_type="fts")
    if text is None:
        found = table.search(vector, vector_column_name=column)
    else:
        found = table.search(query_type="hybrid", vector_column_name=column).vector(vector)
        found = found.text(MultiMatchQuery(text, words))
    found = found.distance_type("cosine").refine_factor(_REFINED)
    return found.minimum_nprobes(_PARTITIONS).maximum_nprobes(0)


def _cosine(row: list[float], vector: np.ndarray) -> float:
    other = np.asarray(row, np.float64)
    return float(np.clip(other @ vector / (np.linalg.norm(other) * np.linalg.norm(vector)), -1, 1))
