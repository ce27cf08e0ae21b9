"""Garbage: what goes, and that nothing goes that the index serves or a stage may still write."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from peace_pipeline.encoder import store
from peace_pipeline.index.search import indexed_vector, search
from peace_pipeline.index.tables import connect, served_version
from peace_pipeline.lake import Lake
from peace_pipeline.stages.collect import collect
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.staleness import stale_batches
from tests.indexed import new_encoder, process
from tests.lakes import directory, write_network

NOW = timedelta(0)
GARBAGE = ["embeddings", "encoder", "layers", "responses", "unfinished"]


@pytest.fixture
def aged(lake: Lake, zoo: Path) -> Lake:
    """A lake whose first batch is superseded and whose first encoder was replaced."""
    new_encoder(lake)
    write_network(zoo / "a", "mlp", 1)
    process(lake, zoo)
    write_network(zoo / "a", "mlp", 2)
    write_network(zoo / "b", "mlp", 3)
    process(lake, zoo)
    new_encoder(lake, 1)
    for batch in lake.batches():
        embed_batch(lake, batch)
        update_index(lake, batch)
    return lake


def kinds(lake: Lake, **options: object) -> list[str]:
    return sorted(one.kind for one in collect(lake, **options) if one.kind != "versions")  # type: ignore[arg-type]


def test_what_nobody_needs_goes_and_the_lake_goes_on(aged: Lake) -> None:
    first, second = aged.batches()
    old = next(
        path for path in aged.encoders.iterdir() if path.is_dir() and path.name != store.current_version(aged)
    )
    vector = indexed_vector(aged, "directory:zoo/a")
    (aged.layers(first).parent / f".{first}.parquet.abcd1234").write_bytes(b"half")
    assert kinds(aged, older_than=NOW, dry_run=True) == GARBAGE
    assert old.exists()
    assert kinds(aged, older_than=NOW) == GARBAGE
    assert not old.exists()
    assert not list(aged.layers(first).parent.glob(".*"))
    for table in (aged.layers, aged.responses):
        assert [pq.read_metadata(table(batch)).num_rows > 0 for batch in (first, second)] == [False, True]
    assert stale_batches(aged) == {}
    assert kinds(aged, older_than=NOW) == []
    assert np.array_equal(indexed_vector(aged, "directory:zoo/a"), vector)
    assert len(search(aged, vector)) == 2
    shutil.rmtree(aged.index)
    assert set(stale_batches(aged).values()) == {"index"}
    for batch in aged.batches():
        update_index(aged, batch)
    assert np.array_equal(indexed_vector(aged, "directory:zoo/a"), vector)


def test_what_is_young_stays(aged: Lake) -> None:
    assert kinds(aged) == []


def test_what_a_stage_renames_meanwhile_is_no_garbage(aged: Lake) -> None:
    folder = aged.layers("x").parent
    (folder / ".x.parquet.abcd1234").symlink_to(folder / "just renamed")
    assert "unfinished" not in kinds(aged, older_than=NOW)


def test_nothing_goes_that_is_served_while_a_new_encoder_is_behind(aged: Lake) -> None:
    served, new = served_version(aged), new_encoder(aged, 2)
    collect(aged, older_than=NOW)
    assert {path.name for path in aged.encoders.iterdir() if path.is_dir()} == {served, new}
    assert set(stale_batches(aged).values()) == {"embed"}


def test_layers_stay_until_what_supersedes_them_is_in_the_index(lake: Lake, zoo: Path) -> None:
    new_encoder(lake)
    write_network(zoo / "a", "mlp", 1)
    process(lake, zoo)
    write_network(zoo / "a", "mlp", 2)
    crawl_zoo(lake, directory(zoo))
    assert kinds(lake, older_than=NOW) == []
    assert pq.read_metadata(lake.layers(lake.batches()[0])).num_rows


def test_old_versions_of_tables_go_and_the_last_stays(aged: Lake) -> None:
    before = len(connect(aged).open_table("models").list_versions())
    assert before > 1
    assert any(one.kind == "versions" for one in collect(aged, older_than=NOW, dry_run=True))
    assert len(connect(aged).open_table("models").list_versions()) == before
    collect(aged, older_than=NOW)
    assert len(connect(aged).open_table("models").list_versions()) < before
    assert connect(aged).open_table("models").count_rows() == 2
