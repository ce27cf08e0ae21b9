"""Copies are found by the hashes of their tensors, in the newest revisions alone."""

from __future__ import annotations

import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.tables import INVENTORY, NEW, SKIPPED
from peace_pipeline.zoo.batches import store_batch
from peace_pipeline.zoo.contents import Contents
from peace_pipeline.zoo.record import ModelRecord


def extracted(lake: Lake, revision: str, **contents: str | None) -> str:
    """A batch of these models with these contents, as a crawl and an extraction leave it."""
    batch = store_batch(lake, [ModelRecord("directory", name, revision, "file:///m") for name in contents])
    rows: list[dict[str, Any]] = [
        {"model_id": name, "revision": revision, "status": NEW if content else SKIPPED, "content": content}
        for name, content in contents.items()
    ]
    Contents(lake).put(batch, rows)
    write_parquet(pa.Table.from_pylist(rows, schema=INVENTORY.schema), lake.inventory(batch))
    return batch


def test_copies_of_a_batch_are_those_that_one_of_it_is_among(lake: Lake) -> None:
    first = extracted(lake, "r", a="x", b="x", c="y", d=None)
    second = extracted(lake, "r", e="y", f="z")
    assert Contents(lake).copies(first) == [["a", "b"], ["c", "e"]]
    assert Contents(lake).copies(second) == [["c", "e"]]


def test_what_a_later_revision_holds_counts(lake: Lake) -> None:
    first = extracted(lake, "r", a="x", b="x")
    second = extracted(lake, "s", b="y", c="y")
    assert Contents(lake).copies(first) == []
    assert Contents(lake).copies(second) == [["b", "c"]]
    Contents(lake).put(first, [{"model_id": "b", "revision": "r", "content": "x"}])  # extracted anew
    assert Contents(lake).copies(second) == [["b", "c"]]


def test_a_model_that_is_gone_is_no_copy(lake: Lake) -> None:
    first = extracted(lake, "r", a="x", b="x")
    store_batch(lake, [ModelRecord("directory", "b", "r", "file:///m", status="deleted", reason="gone")])
    assert Contents(lake).copies(first) == []


def test_contents_of_a_lake_that_has_no_such_table_are_read_from_its_inventories(lake: Lake) -> None:
    batches = [extracted(lake, "r", a="x", b="x", c="y"), extracted(lake, "s", c="x", d="y")]
    older = lake.inventory(extracted(lake, "r", e="x"))
    table = pq.read_table(older)
    write_parquet(table.drop_columns(["content"]), older)
    shutil.rmtree(lake.current / "contents.lance")
    assert [Contents(lake).copies(batch) for batch in batches] == [[["a", "b", "c"]]] * 2
