"""What is stale: whatever happened to a batch, found again; a settled batch is not opened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import lancedb
import pyarrow.parquet as pq

from peace_pipeline.encoder import store
from peace_pipeline.index.settled import settle, settled_batches
from peace_pipeline.index.tables import connect
from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.stages.staleness import stale_batches
from tests.indexed import filled, keys, new_encoder, process
from tests.lakes import directory, write_network

__all__ = ["filled"]


def test_what_is_stale_at_each_step(lake: Lake, zoo: Path) -> None:
    assert stale_batches(lake) == {}
    write_network(zoo / "a", "mlp", 1)
    (batch,) = crawl_zoo(lake, directory(zoo)).batches
    assert stale_batches(lake) == {batch: "extract"}
    extract_batch(lake, batch)
    assert stale_batches(lake) == {batch: "layers"}
    layer_batch(lake, batch)
    assert stale_batches(lake) == {batch: "respond"}
    respond_batch(lake, batch)
    version = new_encoder(lake)
    assert stale_batches(lake) == {batch: "embed"}
    embed_batch(lake, batch)
    assert stale_batches(lake) == {batch: "index"}
    update_index(lake, batch)
    assert stale_batches(lake) == {}
    for table in ("models", "layers", "outputs"):
        lancedb.connect(str(lake.index)).drop_table(table)
        assert stale_batches(lake) == {batch: "index"}, table
        update_index(lake, batch)
        assert stale_batches(lake) == {}
    shutil.rmtree(lake.index)
    assert stale_batches(lake) == {batch: "index"}
    update_index(lake, batch)
    for path, stage in (
        (lake.inventory(batch), "extract"),
        (lake.layers(batch), "layers"),
        (lake.wirings(batch), "layers"),
        (lake.responses(batch), "respond"),
        (lake.embeddings("network", version, batch), "embed"),
        (lake.embeddings("output", version, batch), "embed"),
    ):
        path.rename(path.with_suffix(".aside"))
        assert stale_batches(lake) == {batch: stage}
        path.with_suffix(".aside").rename(path)
    assert stale_batches(lake) == {}


def test_what_is_done_again_is_indexed_again(filled: Lake) -> None:
    (batch,) = filled.batches()
    embed_batch(filled, batch)
    assert stale_batches(filled) == {batch: "index"}
    update_index(filled, batch)
    assert stale_batches(filled) == {}


def test_another_reading_makes_a_batch_stale_until_its_layers_are_read_anew(filled: Lake) -> None:
    (batch,) = filled.batches()
    table = pq.read_table(filled.wirings(batch))
    pq.write_table(table.replace_schema_metadata({"peace.reading": "0"}), filled.wirings(batch))
    settle(filled, {batch: settled_batches(filled)[batch]._replace(reading="0")})
    assert stale_batches(filled) == {batch: "layers"}
    layer_batch(filled, batch)
    assert stale_batches(filled) == {batch: "index"}
    update_index(filled, batch)
    assert stale_batches(filled) == {}


def test_other_probes_make_a_batch_stale_until_its_networks_are_run_and_embedded_anew(filled: Lake) -> None:
    (batch,) = filled.batches()
    table = pq.read_table(filled.responses(batch))
    pq.write_table(table.replace_schema_metadata({"peace.probes": "0"}), filled.responses(batch))
    settle(filled, {batch: settled_batches(filled)[batch]._replace(reading="0")})
    assert stale_batches(filled) == {batch: "respond"}
    respond_batch(filled, batch)
    assert stale_batches(filled) == {batch: "embed"}, "a process that was killed here goes on"
    embed_batch(filled, batch)
    assert stale_batches(filled) == {batch: "index"}


def test_settled_batches_are_not_opened(filled: Lake) -> None:
    (batch,) = filled.batches()
    version = store.current_version(filled) or ""
    for path in (
        filled.inventory(batch),
        filled.wirings(batch),
        filled.layers(batch),
        filled.embeddings("network", version, batch),
    ):
        times = path.stat()
        path.write_bytes(b"not to be read")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert stale_batches(filled) == {}


def test_without_an_index_every_batch_is_unsettled(filled: Lake, zoo: Path) -> None:
    write_network(zoo / "d", "mlp", 4)
    process(filled, zoo)
    first, second = filled.batches()
    connect(filled).drop_table("layers")
    assert stale_batches(filled) == {first: "index", second: "index"}
    update_index(filled, second)
    assert stale_batches(filled) == {first: "index"}, "the table was made anew with one batch in it"
    update_index(filled, first)
    assert stale_batches(filled) == {}
    assert len(keys(filled)) == 4


def test_where_no_folder_changed_nothing_is_looked_at_and_a_change_is_seen(filled: Lake) -> None:
    (batch,) = filled.batches()
    for folder in [path for path in filled.root.rglob("*") if path.is_dir()]:
        os.utime(folder, ns=(1, 1))
    assert stale_batches(filled) == {}
    assert stale_batches(filled) == {}
    path = filled.inventory(batch)
    path.rename(path.with_suffix(".aside"))
    assert stale_batches(filled) == {batch: "extract"}
    path.with_suffix(".aside").rename(path)
    assert stale_batches(filled) == {}
    embed_batch(filled, batch)
    assert stale_batches(filled) == {batch: "index"}
    update_index(filled, batch)
    assert stale_batches(filled) == {}
    new_encoder(filled, 1)
    assert stale_batches(filled) == {batch: "embed"}
