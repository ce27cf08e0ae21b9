"""How the lake stands: what is in it, what is stale, what was skipped and why. Reads no weights."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.encoder.store import current_version, own_version
from peace_pipeline.index.search import BadFilter
from peace_pipeline.index.tables import INDEX_TABLES, MODELS, connect, served_version, table_names
from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import matching, query
from peace_pipeline.lake.tables import DELETED, FORGOTTEN, MODEL_RECORDS, NEW, REMEMBERED, SKIPPED
from peace_pipeline.stages.crawl import lock_of_crawls
from peace_pipeline.stages.embed import OUTCOMES
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.zoo.current import Current

_COLUMNS = ["model_id", "revision", "source", "status", "reason", "batch"]
_LISTED = [
    "model_id", "source", "revision", "status", "task", "datasets", "metrics", "architecture", "library", "license",
    "parameters", "uri",
]  # fmt: skip
_ASKED = ["tags", "seed", "base_model", "hyperparameters"]
_SKIPPED = """
    WITH outcomes AS ({})
    SELECT model_id, reason FROM newest WHERE status = 'skipped'
    UNION ALL
    SELECT model_id, first(outcomes.reason) AS reason FROM outcomes JOIN newest USING (model_id, batch)
    WHERE newest.status = 'new' AND outcomes.status = 'skipped' GROUP BY model_id
    ORDER BY model_id
"""
_NONE = "SELECT NULL::VARCHAR AS model_id, NULL::VARCHAR AS reason, NULL::VARCHAR AS status, NULL::VARCHAR AS batch"
_THOSE_OF = (
    "SELECT model_id, reason, status, parse_filename(filename, true) AS batch "
    "FROM read_parquet(${}, filename = true)"
)
_FILE = re.compile(r".*\.\w{1,12}|.*/.*")


@dataclass(frozen=True)
class Status:
    """How a lake stands.

    ``models`` counts what its sources have, by ``sources``; ``gone`` what they had. ``embedded`` are in the index, by
    the encoder ``indexed_by``; ``skipped`` says why others aren't, by kind of reason. ``stale`` counts models by the
    stage that they wait for. ``encoder`` is the current one, ``own`` where the lake trained it. ``crawled`` is when a
    crawl last began, ``changed`` when one last found something.
    """

    home: str
    models: int
    sources: dict[str, int]
    gone: int
    embedded: int
    layers: int
    outputs: int
    stale: dict[str, int]
    skipped: dict[str, int]
    indexed_by: str | None
    encoder: str | None
    own: bool
    crawled: datetime | None
    changed: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object, times in ISO 8601."""
        times = {
            name: time and time.isoformat()
            for name, time in (("crawled", self.crawled), ("changed", self.changed))
        }
        return asdict(self) | times


def lake_status(lake: Lake) -> Status:
    """How a lake stands now. What it costs grows with the number of models, of which ids and reasons are read."""
    current = Current(lake, fold=False)
    newest = _newest(current)
    present = newest.filter(pc.not_equal(newest["status"], DELETED))
    counts = _index_counts(lake)
    return Status(
        str(lake.root),
        len(present),
        dict(Counter(present["source"].to_pylist()).most_common()),
        len(newest) - len(present),
        counts["models"],
        counts["layers"],
        counts["outputs"],
        _stale(lake, newest),
        dict(Counter(_kind(row["reason"]) for row in _skipped(lake, newest)).most_common()),
        served_version(lake),
        current_version(lake),
        own_version(lake) is not None,
        _crawled(lake),
        _changed(lake),
    )


def present(lake: Lake, where: str | None = None) -> list[dict[str, Any]]:
    """What the lake knows of the models that its sources have, by model id; of those in the index also what was read,
    of those that are left out why. Of these those for which ``where`` holds: SQL of DuckDB over what is listed, and
    over tags, seed, base_model and hyperparameters.

    Raises:
        BadFilter: where ``where`` can't be run.
    """
    columns = [*_LISTED, *(() if where is None else _ASKED)]
    scanned = Current(lake, fold=False).scan(columns, f"status <> '{DELETED}'")
    read, reasons = _read(lake), {row["model_id"]: row["reason"] for row in skipped_now(lake)}
    rows = [
        {name: row[name] for name in columns if name != "metrics"}
        | {"accuracy": (row["metrics"] or {}).get("accuracy"), "embedded": row["model_id"] in read}
        | {"reason": reasons.get(row["model_id"])}
        | ({"status": SKIPPED} if row["model_id"] in reasons else {})
        | read.get(row["model_id"], {})
        for batch in scanned
        for row in batch.to_pylist(maps_as_pydicts="lossy")
    ]
    kept = {row["model_id"] for row in rows} if where is None else _those_of(rows, where)
    listed = [
        {name: value for name, value in row.items() if name not in _ASKED}
        for row in rows
        if row["model_id"] in kept
    ]
    return sorted(listed, key=lambda row: row["model_id"])


def _those_of(rows: list[dict[str, Any]], where: str) -> set[str]:
    """The ids of the rows for which ``where`` holds.

    Raises:
        BadFilter: where it can't be run.
    """
    own = [pa.field("accuracy", pa.float64()), pa.field("embedded", pa.bool_())]
    fields = [field for field in MODEL_RECORDS.schema if field.name in (*_LISTED, *_ASKED, "reason")]
    schema = pa.schema([*(field for field in fields if field.name != "metrics"), *own])
    try:
        found = matching(pa.Table.from_pylist(rows, schema), where)
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
        columns = (
            f"; there are {', '.join(schema.names)}" if isinstance(error, duckdb.BinderException) else ""
        )
        raise BadFilter(f"the lake can't be listed so: {why}{columns}") from error
    return {*found["model_id"].to_pylist()}


def _read(lake: Lake) -> dict[str, dict[str, Any]]:
    """Architecture and number of parameters of every model in the index, as it was read."""
    if not lake.index.exists() or MODELS.name not in table_names(database := connect(lake)):
        return {}
    names = ["architecture", "parameters"]
    rows = database.open_table(MODELS.name).search().select(["model_id", *names]).limit(None).to_list()
    return {row["model_id"]: {name: row[name] for name in names} for row in rows}


def skipped_now(lake: Lake) -> list[dict[str, str]]:
    """Model id and reason of every model that is left out, by the crawl or a later stage."""
    return _skipped(lake, _newest(Current(lake, fold=False)))


def _newest(current: Current) -> pa.Table:
    schema = pa.schema([current.models.schema.field(name) for name in _COLUMNS])
    return pa.Table.from_batches(current.scan(_COLUMNS), schema)


def _skipped(lake: Lake, newest: pa.Table) -> list[dict[str, str]]:
    version = current_version(lake) or "none"
    places = {
        "inventory": lake.inventory("[!.]*"),
        "wirings": lake.wirings("[!.]*"),
        "outcomes": lake.embeddings(OUTCOMES, version, "[!.]*"),
    }
    there = {name: path for name, path in places.items() if any(path.parent.glob(path.name))}
    sql = _SKIPPED.format(" UNION ALL ".join([_NONE, *map(_THOSE_OF.format, there)]))
    return query(sql, {"newest": newest}, **there).to_pylist()


def _kind(reason: str) -> str:
    """What reasons have in common: without the names of files before it, the numbers in it, and details after it."""
    first, _, rest = reason.partition(": ")
    while rest and _FILE.fullmatch(first):
        first, _, rest = rest.partition(": ")
    return re.sub(r"\d[\d,.]*", "…", first)


def _stale(lake: Lake, newest: pa.Table) -> dict[str, int]:
    """Stage → how many models wait for it."""
    stages = stale_batches(lake)
    batches = newest.filter(pc.equal(newest["status"], NEW))["batch"].to_pylist()
    return dict(Counter(stages[batch] for batch in batches if batch in stages).most_common())


def _index_counts(lake: Lake) -> dict[str, int]:
    there = table_names(database := connect(lake)) if lake.index.exists() else set()
    return {name: database.open_table(name).count_rows() if name in there else 0 for name in INDEX_TABLES}


def _crawled(lake: Lake) -> datetime | None:
    """When a crawl last began."""
    lock = lock_of_crawls(lake)
    return datetime.fromtimestamp(lock.stat().st_mtime, UTC) if lock.exists() else None


def _changed(lake: Lake) -> datetime | None:
    """When a crawl last stored a batch; one by which models were forgotten doesn't count."""
    for batch in reversed(lake.batches()):
        reasons = pq.read_table(lake.zoo(batch), columns=["reason"])["reason"].to_pylist()
        if not set(reasons) <= {FORGOTTEN, REMEMBERED}:
            return datetime.fromtimestamp(lake.zoo(batch).stat().st_mtime, UTC)
    return None
