"""All that the lake knows of one model: its record, how it was read and run, what it is near to and comes from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.encoder.store import current_version
from peace_pipeline.index.lookup import find
from peace_pipeline.index.tables import MODELS, connect, table_names
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.lake.tables import NEW
from peace_pipeline.stages.embed import OUTCOMES
from peace_pipeline.zoo.current import Current, newest_batch, newest_record
from peace_pipeline.zoo.names import did_you_mean, meant
from peace_pipeline.zoo.record import ModelRecord

_READ = ["method", "family", "assumes", "parameters", "sampled"]
_RUN = ["run_by", "kind", "probe_count", "output_count", "labels", "reason"]
_INDEXED = ["content", "encoder_version", "embedded_at"]


class UnknownModel(Exception):
    """A model id that the lake doesn't know."""


def about(lake: Lake, model_id: str, *, k: int = 5) -> dict[str, Any]:
    """What the lake knows of a model, as a JSON object: its ``record``, whether it is ``new``, ``skipped`` (for the
    ``reason``) or ``deleted``; how it is ``read`` and ``run``, ``null`` where it wasn't yet; its row in the ``index``
    with the ``k`` nearest; ``copies`` of equal tensors, and what it is ``derived_from`` and what ``derives`` from it.

    Raises:
        UnknownModel: where the lake has no such model.
    """
    model_id = meant(model_id)
    record, batch = newest_record(lake, model_id), newest_batch(lake, model_id)
    if record is None or batch is None:
        raise UnknownModel(f"no model {model_id} in {lake.root}{did_you_mean(lake, model_id)}")
    wired, answers, indexed = (
        _row(lake.wirings(batch), model_id),
        _row(lake.responses(batch), model_id),
        _indexed(lake, model_id),
    )
    reason = record.reason or _why_skipped(lake, batch, model_id)
    return {
        "model_id": model_id,
        "status": "skipped" if reason and record.status == NEW else record.status,
        "reason": reason,
        "record": _as_json(record),
        "read": (wired and wired["status"] == NEW and {name: wired.get(name) for name in _READ}) or None,
        "run": answers and {name: answers.get(name) for name in _RUN},
        "index": indexed
        and {
            "encoder_version": indexed["encoder_version"],
            "embedded_at": indexed["embedded_at"].isoformat(),
            "nearest": [hit.as_dict() for hit in find(lake, model_id, k=k)],
        },
        "copies": _copies(lake, model_id, indexed["content"]) if indexed and indexed["content"] else [],
        "derived_from": record.base_model
        and {"model_id": record.base_model, "relation": record.base_model_relation},
        "derives": _derived(lake, model_id),
    }


def _as_json(record: ModelRecord) -> dict[str, Any]:
    times = {
        name: time and time.isoformat()
        for name, time in (("created_at", record.created_at), ("last_modified", record.last_modified))
    }
    return {name: value for name, value in asdict(record).items() if name not in ("status", "reason")} | times


def _row(path: Path, model_id: str) -> dict[str, Any] | None:
    """The row of a model in a table of its batch, without the columns that hold what it computes.

    A table that an earlier version of PEACE wrote has fewer columns.
    """
    if not path.exists():
        return None
    columns = [
        name for name in pq.read_schema(path).names if name not in ("outputs", "gram", "wiring", "tensors")
    ]
    rows = pq.read_table(path, columns=columns, filters=pc.field("model_id") == model_id).to_pylist()
    return rows[0] if rows else None


def _why_skipped(lake: Lake, batch: str, model_id: str) -> str | None:
    """The reason why a stage after the crawl left it out."""
    outcomes = lake.embeddings(OUTCOMES, current_version(lake) or "none", batch)
    rows = (_row(path, model_id) for path in (lake.inventory(batch), lake.wirings(batch), outcomes))
    return next((row["reason"] for row in rows if row and row["reason"]), None)


def _indexed(lake: Lake, model_id: str) -> dict[str, Any] | None:
    if not lake.index.exists() or MODELS.name not in table_names(database := connect(lake)):
        return None
    found = database.open_table(MODELS.name).search().where(f"model_id = {quoted(model_id)}")
    rows = found.select(_INDEXED).limit(1).to_list()
    return rows[0] if rows else None


def _copies(lake: Lake, model_id: str, content: str) -> list[str]:
    found = connect(lake).open_table(MODELS.name).search().where(f"content = {quoted(content)}")
    rows = found.select(["model_id"]).limit(None).to_list()
    return sorted(row["model_id"] for row in rows if row["model_id"] != model_id)


def _derived(lake: Lake, model_id: str) -> list[dict[str, Any]]:
    names, where = ["model_id", "base_model_relation"], f"base_model = {quoted(model_id)} AND status = 'new'"
    rows = [row for batch in Current(lake, fold=False).scan(names, where) for row in batch.to_pylist()]
    return [{"model_id": row["model_id"], "relation": row["base_model_relation"]} for row in rows]
