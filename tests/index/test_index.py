"""The index: rows by key, one encoder version at a time, whatever became stale found again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.index.search import BadFilter, NoIndex, indexed_vector, search
from peace_pipeline.index.tables import connect
from peace_pipeline.lake import Lake
from peace_pipeline.lake.contracts import violations
from peace_pipeline.lake.tables import LAYERS, NETWORK_EMBEDDINGS, PAIRS, TABLES
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.zoo.contents import Contents
from tests.conftest import card_of, directory, write_model, write_network

SMALL = EncoderConfig(
    width=16, heads=4, rounds=1, token_width=16, transformer_layers=1, attention_heads=2, dimension=8
)
QUOTED = 'it\'s a "name" 100%\\'


def new_encoder(lake: Lake, seed: int = 0) -> str:
    torch.manual_seed(seed)
    return store.save(lake, Encoder(SMALL), {"seed": seed})


def process(lake: Lake, zoo: Path) -> list[str]:
    """Crawl and bring every new batch into the index; the batches."""
    batches = crawl_zoo(lake, directory(zoo)).batches
    for batch in batches:
        extract_batch(lake, batch)
        layer_batch(lake, batch)
        embed_batch(lake, batch)
        update_index(lake, batch)
    return batches


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    return lancedb.connect(str(lake.index)).open_table(table).to_arrow().to_pylist()


def keys(lake: Lake) -> list[str]:
    found = [row["model_id"] for row in rows(lake, "models")]
    assert len(found) == len(set(found)), "a model is in the table twice"
    layers = [(row["model_id"], row["layer"]) for row in rows(lake, "layers")]
    assert len(layers) == len(set(layers)), "a layer is in the table twice"
    assert {model_id for model_id, _ in layers} == set(found)
    return sorted(found)


def versions(lake: Lake) -> set[str]:
    return {row["encoder_version"] for table in ("models", "layers") for row in rows(lake, table)}


@pytest.fixture
def filled(lake: Lake, zoo: Path) -> Lake:
    """A lake with three indexed networks."""
    new_encoder(lake)
    write_network(zoo / "a", "mlp", 1, card_of("digits"))
    write_network(zoo / "b", "cnn", 2, card_of("animals"))
    write_network(zoo / QUOTED, "mlp", 3, card_of("signals"))
    process(lake, zoo)
    return lake


def test_plain_lancedb_reads_the_rows(filled: Lake) -> None:
    assert keys(filled) == sorted(f"directory:zoo/{name}" for name in ("a", "b", QUOTED))
    row = next(row for row in rows(filled, "models") if row["model_id"] == "directory:zoo/a")
    assert (row["source"], row["task"], row["architecture"]) == ("directory", "image-classification", "mlp")
    assert row["datasets"] == ["digits"]
    assert row["metrics"] == [{"name": "accuracy", "value": 0.9}]
    assert row["parameters"] == sum(a * b + b for a, b in ((12, 10), (10, 8), (8, 9), (9, 4)))
    assert "trained on digits" in row["card"]
    assert np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-5)
    layers = [row for row in rows(filled, "layers") if row["model_id"] == "directory:zoo/a"]
    assert sorted(row["layer"] for row in layers) == [0, 1, 2, 3]
    assert {row["kind"] for row in layers} == {"linear"}
    assert stale_batches(filled) == {}


def test_every_table_keeps_its_contract(filled: Lake) -> None:
    (batch,), version = filled.batches(), store.current_version(filled)
    assert version is not None
    for table in TABLES.values():
        path = table.under(filled.root, batch=batch, encoder_version=version)
        if table is not PAIRS:
            assert violations(table, path) == [], table.name


def as_an_older_version_leaves_it(lake: Lake) -> None:
    """Without what later versions of PEACE added to the index."""
    database = connect(lake)
    database.drop_table("settled")
    database.open_table("models").drop_columns(["content"])
    database.open_table("layers").drop_columns(["layer_id"])


def test_an_index_of_an_older_version_is_recognised_and_goes_on(filled: Lake, zoo: Path) -> None:
    write_network(zoo / "d", "mlp", 4)
    (second,) = crawl_zoo(filled, directory(zoo)).batches
    before = rows(filled, "models")
    as_an_older_version_leaves_it(filled)
    assert stale_batches(filled) == {second: "extract"}
    assert [row | {"content": None} for row in rows(filled, "models")] == [
        row | {"content": None} for row in before
    ]
    for stage in (extract_batch, layer_batch, embed_batch, update_index):
        stage(filled, second)
    assert len(keys(filled)) == 4
    assert stale_batches(filled) == {}


def test_models_of_equal_tensors_are_known_whatever_file_they_lie_in(filled: Lake, zoo: Path) -> None:
    state = load_file(zoo / "a" / "model.safetensors")
    (zoo / "copy").mkdir()
    torch.save({"state_dict": state}, zoo / "copy" / "pytorch_model.bin")
    write_model(zoo / "other", {name: value + 1e-7 for name, value in state.items()})
    as_an_older_version_leaves_it(filled)
    (batch,) = process(filled, zoo)
    assert Contents(filled).copies(batch) == [["directory:zoo/a", "directory:zoo/copy"]]
    content = {row["model_id"].partition("/")[2]: row["content"] for row in rows(filled, "models")}
    assert content["a"] is None
    assert content["copy"] != content["other"]
    update_index(filled, filled.batches()[0])
    assert {row["model_id"]: row["content"] for row in rows(filled, "models")}["directory:zoo/a"] == content[
        "copy"
    ]


def test_an_update_twice_changes_nothing(filled: Lake) -> None:
    (batch,) = filled.batches()
    before = keys(filled)
    update = update_index(filled, batch)
    assert (update.upserted, update.deleted, update.models, update.waiting) == (3, 0, 3, 0)
    assert keys(filled) == before


def test_a_changed_model_replaces_its_rows_and_loses_surplus_layers(filled: Lake, zoo: Path) -> None:
    before = {row["model_id"]: row["revision"] for row in rows(filled, "models")}
    write_network(zoo / "b", "mlp", 5)
    shorter = {"0.weight": torch.randn(6, 12), "1.weight": torch.randn(4, 6)}

    write_model(zoo / "a", shorter)
    process(filled, zoo)
    after = {row["model_id"]: row["revision"] for row in rows(filled, "models")}
    assert sorted(key for key in after if after[key] != before[key]) == ["directory:zoo/a", "directory:zoo/b"]
    assert keys(filled) == sorted(before)
    layers = [row for row in rows(filled, "layers") if row["model_id"] == "directory:zoo/a"]
    assert sorted(row["layer"] for row in layers) == [0, 1]
    assert {row["revision"] for row in layers} == {after["directory:zoo/a"]}
    assert stale_batches(filled) == {}


def test_gone_and_unreadable_models_leave_both_tables(filled: Lake, zoo: Path) -> None:
    shutil.rmtree(zoo / QUOTED)
    weights = zoo / "b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    batches = crawl_zoo(filled, directory(zoo)).batches
    assert stale_batches(filled)
    for batch in batches:
        extract_batch(filled, batch)
        layer_batch(filled, batch)
        embed_batch(filled, batch)
        assert update_index(filled, batch).deleted == 2
    assert keys(filled) == ["directory:zoo/a"]
    assert stale_batches(filled) == {}
    version = store.current_version(filled)
    assert version is not None
    assert violations(NETWORK_EMBEDDINGS, filled.embeddings("network", version, batches[0])) == []
    assert violations(LAYERS, filled.layers(batches[0])) == []


def test_everything_gone(filled: Lake, zoo: Path) -> None:
    for folder in list(zoo.iterdir()):
        shutil.rmtree(folder)
    process(filled, zoo)
    assert keys(filled) == []
    assert search(filled, np.ones(8, np.float32)) == []
    assert search(filled, text="digits") == []
    assert stale_batches(filled) == {}
    write_network(zoo / "a", "mlp", 1, card_of("digits"))
    process(filled, zoo)
    assert keys(filled) == ["directory:zoo/a"]
    assert [hit.model_id for hit in search(filled, text="digits")] == ["directory:zoo/a"]


def test_after_retraining_the_old_version_is_served_to_the_end(filled: Lake, zoo: Path) -> None:
    write_network(zoo / "d", "resnet", 4)
    process(filled, zoo)
    first, second = filled.batches()
    old, new = store.current_version(filled), new_encoder(filled, 1)
    assert old != new
    assert stale_batches(filled) == dict.fromkeys((first, second), "embed")
    embed_batch(filled, second)
    update = update_index(filled, second)
    assert (update.upserted, update.waiting) == (0, 1)
    assert versions(filled) == {old}
    assert stale_batches(filled)[first] == "embed"
    embed_batch(filled, first)
    assert set(stale_batches(filled).values()) == {"index"}
    update = update_index(filled, first)
    assert (update.upserted, update.waiting) == (4, 0)
    assert versions(filled) == {new}
    assert len(keys(filled)) == 4
    assert stale_batches(filled) == {}


def test_what_is_stale_at_each_step(lake: Lake, zoo: Path) -> None:
    assert stale_batches(lake) == {}
    write_network(zoo / "a", "mlp", 1)
    (batch,) = crawl_zoo(lake, directory(zoo)).batches
    assert stale_batches(lake) == {batch: "extract"}
    extract_batch(lake, batch)
    assert stale_batches(lake) == {batch: "layers"}
    layer_batch(lake, batch)
    assert stale_batches(lake) == {}, "without an encoder nothing more can be done"
    version = new_encoder(lake)
    assert stale_batches(lake) == {batch: "embed"}
    embed_batch(lake, batch)
    assert stale_batches(lake) == {batch: "index"}
    update_index(lake, batch)
    assert stale_batches(lake) == {}
    for table in ("models", "layers"):
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
        (lake.embeddings("network", version, batch), "embed"),
    ):
        path.rename(path.with_suffix(".aside"))
        assert stale_batches(lake) == {batch: stage}
        path.with_suffix(".aside").rename(path)
    assert stale_batches(lake) == {}


def ids(hits: list[Any]) -> list[str]:
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    return [hit.model_id.removeprefix("directory:zoo/") for hit in hits]


def test_search_by_vector(filled: Lake) -> None:
    for name in ("a", "b", QUOTED):
        vector = indexed_vector(filled, f"directory:zoo/{name}")
        assert vector is not None
        hits = search(filled, vector)
        assert ids(hits)[0] == name
        assert hits[0].similarity == pytest.approx(1, abs=1e-5)
        similarities = [hit.similarity for hit in hits]
        assert similarities == sorted(similarities, reverse=True)
        without = search(filled, vector, without=f"directory:zoo/{name}", k=1)
        assert ids(without) == ids(hits)[1:2]
    assert indexed_vector(filled, "directory:zoo/nowhere") is None
    assert indexed_vector(filled, "' OR 1=1 --") is None


def test_search_by_words_both_and_filters(filled: Lake) -> None:
    assert ids(search(filled, text="animals")) == ["b"]
    assert search(filled, text="animals")[0].similarity is None
    assert search(filled, text="zzzz") == []
    vector = indexed_vector(filled, "directory:zoo/a")
    hybrid = search(filled, vector, text="animals")
    assert set(ids(hybrid)) == {"a", "b", QUOTED}
    assert all(hit.similarity is not None for hit in hybrid)
    assert ids(search(filled, vector, where="architecture = 'cnn'")) == ["b"]
    assert ids(search(filled, vector, text="digits", where="architecture = 'cnn'")) == ["b"]
    assert ids(search(filled, text="trained", where="architecture = 'cnn' OR task IS NULL")) == ["b"]
    without = search(filled, vector, where="architecture = 'cnn' OR true", without="directory:zoo/a")
    assert set(ids(without)) == {"b", QUOTED}


@pytest.mark.parametrize(
    "where", ["no_such_column = 1", "architecture = ", "architecture = 'cnn'; DROP TABLE x", ")("]
)
@pytest.mark.parametrize("text", [None, "digits"])
def test_filters_that_cannot_be_run(filled: Lake, where: str, text: str | None) -> None:
    with pytest.raises(BadFilter):
        search(filled, indexed_vector(filled, "directory:zoo/a"), where=where, text=text)


def test_searches_that_make_no_sense(lake: Lake) -> None:
    with pytest.raises(NoIndex, match="peace run"):
        search(lake, np.ones(8, np.float32))
    with pytest.raises(NoIndex):
        indexed_vector(lake, "a")


UPDATE = """
import sys
from peace_pipeline.stages.index import update_index
from peace_pipeline.lake import Lake
lake = Lake.open(sys.argv[1])
for _ in range(3):
    for batch in lake.batches():
        update_index(lake, batch)
"""


def test_two_processes_at_once_leave_unique_keys(filled: Lake, zoo: Path) -> None:
    write_network(zoo / "d", "mlp", 4)
    (batch,) = crawl_zoo(filled, directory(zoo)).batches
    extract_batch(filled, batch)
    layer_batch(filled, batch)
    embed_batch(filled, batch)
    shutil.rmtree(filled.index)
    both = [subprocess.Popen([sys.executable, "-c", UPDATE, str(filled.root)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(keys(filled)) == 4
    assert stale_batches(filled) == {}


@pytest.mark.parametrize("module", ["peace_pipeline.index", "peace_pipeline.index.search"])
def test_the_index_is_a_light_import(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'dagster', 'lightning') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
