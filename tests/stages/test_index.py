"""The index: rows by key, one encoder version at a time, equal to what a full rebuild gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from lancedb.db import LanceDBConnection
from lancedb.merge import LanceMergeInsertBuilder
from lancedb.table import LanceTable
from safetensors.torch import load_file

from peace_pipeline.encoder import store
from peace_pipeline.index.search import NoIndex, search, search_outputs
from peace_pipeline.index.tables import INDEX_TABLES, connect
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import LAYERS, NETWORK_EMBEDDINGS, OUTPUT_EMBEDDINGS, PAIRS, TABLES
from peace_pipeline.lake.violations import violations
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES, SKETCH, VERSION
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.order import stages_from
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.zoo.contents import Contents
from tests.indexed import (
    ANIMALS,
    QUOTED,
    STAGES,
    answer,
    answered,
    answers_of,
    filled,
    keys,
    new_encoder,
    process,
    rows,
    versions,
)
from tests.lakes import card_of, directory, write_model, write_network

__all__ = ["answered", "filled"]


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
    """Without what later versions of PEACE added to the index and to the embeddings."""
    database = connect(lake)
    for name in ("settled", "outputs"):
        database.drop_table(name)
    database.open_table("models").drop_columns(["content", "weights", "responses", "run_by"])
    database.open_table("layers").drop_columns(["layer_id"])
    batch, version = lake.batches()[0], store.current_version(lake) or ""
    path = lake.embeddings("network", version, batch)
    pq.write_table(pq.read_table(path).drop_columns(["weights", "responses", "run_by"]), path)
    lake.embeddings("output", version, batch).unlink()


def test_an_index_of_an_older_version_serves_until_it_is_replaced(filled: Lake, zoo: Path) -> None:
    write_network(zoo / "d", "mlp", 4)
    (first,) = filled.batches()
    (second,) = crawl_zoo(filled, directory(zoo)).batches
    as_an_older_version_leaves_it(filled)
    assert stale_batches(filled) == {first: "embed", second: "extract"}
    for stage in STAGES.values():
        stage(filled, second)
    assert stale_batches(filled) == {first: "embed"}
    assert len(search(filled, np.ones(len(rows(filled, "models")[0]["vector"]), np.float32))) == 3
    with pytest.raises(NoIndex, match="earlier version"):
        search(filled, np.ones(8, np.float32), by="weights")
    with pytest.raises(NoIndex, match="earlier version"):
        search_outputs(filled, label="cat")
    embed_batch(filled, first)
    assert stale_batches(filled) == {first: "index", second: "index"}
    update_index(filled, first)
    assert len(keys(filled)) == 4
    assert stale_batches(filled) == {}


def test_models_of_equal_tensors_are_known_whatever_file_they_lie_in(filled: Lake, zoo: Path) -> None:
    state = load_file(zoo / "a" / "model.safetensors")
    (zoo / "copy").mkdir()
    torch.save({"state_dict": state}, zoo / "copy" / "pytorch_model.bin")
    write_model(zoo / "other", {name: value + 1e-7 for name, value in state.items()})
    (batch,) = process(filled, zoo)
    assert Contents(filled).copies(batch) == [["directory:zoo/a", "directory:zoo/copy"]]
    content = {row["model_id"].partition("/")[2]: row["content"] for row in rows(filled, "models")}
    assert content["a"] == content["copy"] != content["other"]


def outputs(lake: Lake) -> dict[str, list[str | None]]:
    """Model → labels of its outputs in order."""
    found = sorted(rows(lake, "outputs"), key=lambda row: (row["model_id"], row["place"]))
    models = sorted({row["model_id"] for row in found})
    return {name: [row["label"] for row in found if row["model_id"] == name] for name in models}


def test_networks_that_were_run_have_responses_and_outputs(answered: Lake) -> None:
    keys(answered)
    a, b, c = (f"directory:zoo/{name}" for name in ("a", "b", QUOTED))
    assert outputs(answered) == {a: list(ANIMALS), c: [None] * 4}
    found = {row["model_id"]: row for row in rows(answered, "models")}
    assert {name: row["run_by"] for name, row in found.items()} == {a: "torch", b: None, c: "torch"}
    assert found[b]["responses"] is None
    for name in (a, c):
        assert len(found[name]["responses"]) == SKETCH
        assert np.linalg.norm(found[name]["responses"]) == pytest.approx(1, abs=1e-5)
    one = next(row for row in rows(answered, "outputs") if row["output_id"] == f"{a}#2")
    assert (one["model_id"], one["place"], one["label"]) == (a, 2, "red panda")
    assert np.linalg.norm(one["vector"]) == pytest.approx(1, abs=1e-5)
    (batch,), version = answered.batches(), store.current_version(answered)
    for table in (NETWORK_EMBEDDINGS, OUTPUT_EMBEDDINGS):
        path = table.under(answered.root, batch=batch, encoder_version=version or "")
        assert violations(table, path) == []


def test_outputs_go_with_their_network_and_with_the_answers(answered: Lake, zoo: Path) -> None:
    a, c = "directory:zoo/a", f"directory:zoo/{QUOTED}"
    (first,) = answered.batches()
    write_model(zoo / "a", {"0.weight": torch.randn(6, 12), "1.weight": torch.randn(2, 6)})
    (second,) = crawl_zoo(answered, directory(zoo)).batches
    extract_batch(answered, second)
    layer_batch(answered, second)
    logits = torch.randn(PROBES, 2, generator=torch.Generator().manual_seed(0)).numpy()
    answer(answered, second, Response(a, NUMBERS, logits, VERSION, "torch", ("yes", "no")))
    assert outputs(answered) == {a: ["yes", "no"], c: [None] * 4}
    shutil.rmtree(zoo / "a")
    process(answered, zoo)
    assert outputs(answered) == {c: [None] * 4}
    answer(answered, first)
    assert outputs(answered) == {}
    assert {row["responses"] for row in rows(answered, "models")} == {None}
    assert stale_batches(answered) == {}


def test_a_retraining_replaces_the_outputs_too(answered: Lake) -> None:
    (batch,) = answered.batches()
    new = new_encoder(answered, 1)
    a = "directory:zoo/a"
    answer(answered, batch, answers_of("mlp", 1, a, ANIMALS))
    assert versions(answered) == {new}
    assert outputs(answered) == {a: list(ANIMALS)}


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
        respond_batch(filled, batch)
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
    respond_batch(filled, batch)
    embed_batch(filled, batch)
    shutil.rmtree(filled.index)
    both = [subprocess.Popen([sys.executable, "-c", UPDATE, str(filled.root)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(keys(filled)) == 4
    assert stale_batches(filled) == {}


class Killed(Exception):
    """What stands for the death of the process."""


@contextmanager
def killed_at(commit: int) -> Iterator[None]:
    """Let no commit to a LanceDB table happen from the given one on."""
    made = 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def commits(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > commit:
                raise Killed
            return method(*arguments, **options)

        return commits

    places = [(LanceMergeInsertBuilder, "execute"), (LanceDBConnection, "create_table")]
    places += [(LanceTable, name) for name in ("delete", "create_index", "optimize")]
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for kind, name in places:
            patch.setattr(kind, name, counted(getattr(kind, name)))
        yield


def contents(lake: Lake) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table of the index in the order of their keys."""
    return {
        name: sorted(rows(lake, name), key=lambda row: row[kind.key]) for name, kind in INDEX_TABLES.items()
    }


def bring_up_to_date(lake: Lake) -> None:
    """Every stale batch from its first missing stage on."""
    for batch, first in stale_batches(lake).items():
        for stage in stages_from(first):
            STAGES[stage](lake, batch)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(1, 4))])
def test_after_any_history_the_index_is_what_a_full_rebuild_gives(lake: Lake, zoo: Path, seed: int) -> None:
    random = Random(seed)
    new_encoder(lake)
    write_network(zoo / "m0", "mlp", 99)
    for step in range(10):
        match random.choice(("write", "write", "remove", "break", "retrain", "forget")):
            case "write":
                architecture = random.choice(("mlp", "cnn"))
                write_network(zoo / f"m{random.randrange(5)}", architecture, step, card_of("digits"))
            case "remove":
                shutil.rmtree(zoo / f"m{random.randrange(5)}", ignore_errors=True)
            case "break":
                folder = zoo / f"m{random.randrange(5)}"
                folder.mkdir(exist_ok=True)
                (folder / "model.safetensors").write_bytes(b"no weights")
            case "retrain":
                new_encoder(lake, step)
            case "forget":
                table = random.choice((lake.inventory, lake.layers, lake.wirings))
                for batch in lake.batches()[-1:]:
                    table(batch).unlink(missing_ok=True)
        crawl_zoo(lake, directory(zoo))
        with killed_at(random.randrange(12)):
            bring_up_to_date(lake)
    bring_up_to_date(lake)
    bring_up_to_date(lake)
    assert stale_batches(lake) == {}
    keys(lake)
    found = contents(lake)
    shutil.rmtree(lake.index)
    bring_up_to_date(lake)
    assert stale_batches(lake) == {}
    assert contents(lake) == found
