"""Contracts let sound tables pass and name what is broken in others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import save_file
from torch import ones

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import (
    INVENTORY,
    LAYERS,
    MODEL_RECORDS,
    PAIRS,
    TABLES,
    VECTORS,
    WIRINGS,
    Table,
)
from peace_pipeline.lake.violations import violations
from peace_pipeline.stages.pairs import write_pairs
from peace_pipeline.zoo import ModelRecord
from peace_pipeline.zoo.record import to_table
from tests.lakes import card_of, directory, ingest, write_network

UNIT = [1.0, 0.0, 0.0, 0.0]
KEY = {"model_id": "m", "revision": "r"}
GOOD: dict[str, dict[str, Any]] = {
    "model_records": {**KEY, "source": "directory", "uri": "file:///m", "status": "new"},
    "extracted_weights": {**KEY, "status": "new", "parameters": 3},
    "wirings": {**KEY, "status": "new", "method": "chain", "parameters": 3},
    "layer_tensors": {
        **KEY, "layer": 0, "name": "a", "kind": "linear", "parameter": "weight", "out_group": "o",
        "shape": [1, 1], "dtype": "float32", "sampled": False, "values": [1.0],
    },
    "probe_responses": {
        **KEY, "status": "new", "kind": "numbers", "run_by": "trained", "probes": "1", "probe_count": 1,
        "output_count": 2, "outputs": [np.float16(1), np.float16(2)],
    },
    "contrastive_pairs": {"anchor": "m", "other": "n", "relation": "positive", "reason": "same_run"},
    "network_embeddings": {**KEY, "encoder_version": "v", "embedded_at": 0, "vector": UNIT, "weights": UNIT},
    "layer_embeddings": {
        **KEY, "encoder_version": "v", "layer": 0, "name": "a", "kind": "linear", "vector": UNIT,
    },
    "output_embeddings": {**KEY, "encoder_version": "v", "place": 0, "vector": UNIT},
    "embedding_outcomes": {**KEY, "encoder_version": "v", "status": "new"},
}  # fmt: skip


def found(name: str, folder: Path, *rows: dict[str, Any]) -> list[str]:
    table = TABLES[name]
    schema = table.sized(**{column: 4 for column in VECTORS[:2] if column in table.schema.names})
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), folder / "t.parquet")
    return violations(table, folder / "t.parquet")


@pytest.mark.parametrize("name", TABLES)
def test_sound_and_empty_tables_pass(name: str, tmp_path: Path) -> None:
    assert found(name, tmp_path, GOOD[name]) == []
    assert found(name, tmp_path) == []


@pytest.mark.parametrize("name", TABLES)
def test_the_same_key_twice_is_reported(name: str, tmp_path: Path) -> None:
    assert found(name, tmp_path, GOOD[name], GOOD[name])


BROKEN = [
    ("model_records", "status", "unknown"),
    ("model_records", "status", "skipped"),
    ("model_records", "model_id", ""),
    ("model_records", "uri", ""),
    ("extracted_weights", "status", "skipped"),
    ("extracted_weights", "parameters", -1),
    ("extracted_weights", "revision", ""),
    ("wirings", "method", "guessed"),
    ("wirings", "status", "skipped"),
    ("layer_tensors", "layer", -1),
    ("layer_tensors", "name", ""),
    ("layer_tensors", "parameter", "running_mean"),
    ("layer_tensors", "values", []),
    ("contrastive_pairs", "relation", "neutral"),
    ("contrastive_pairs", "reason", ""),
    ("network_embeddings", "vector", [0.5, 0.0, 0.0, 0.0]),
    ("network_embeddings", "vector", [float("nan"), 0.0, 0.0, 0.0]),
    ("network_embeddings", "weights", [0.5, 0.0, 0.0, 0.0]),
    ("network_embeddings", "responses", [0.5, 0.0, 0.0, 0.0]),
    ("output_embeddings", "place", -1),
    ("network_embeddings", "encoder_version", ""),
    ("layer_embeddings", "vector", [0.0, 0.0, 0.0, 0.0]),
    ("layer_embeddings", "layer", -1),
    ("embedding_outcomes", "status", "skipped"),
]


@pytest.mark.parametrize(("name", "column", "value"), BROKEN)
def test_a_broken_row_is_reported(name: str, column: str, value: Any, tmp_path: Path) -> None:
    good = GOOD[name] | ({"other": "x"} if name == "contrastive_pairs" else {"model_id": "x"})
    lines = found(name, tmp_path, good, GOOD[name] | {column: value})
    assert lines
    expected = {"values": "size", "vector": "norm", "status": "s"}.get(column, column)
    assert any(expected in line for line in lines)


def test_a_missing_column_is_reported(tmp_path: Path) -> None:
    pq.write_table(pa.table({"model_id": ["m"]}), tmp_path / "t.parquet")
    assert any("revision" in line for line in violations(INVENTORY, tmp_path / "t.parquet"))


def tables_of(lake: Lake, batch: str) -> list[tuple[Table, Path]]:
    tables = MODEL_RECORDS, INVENTORY, WIRINGS, LAYERS
    return [(table, table.under(lake.root, batch=batch)) for table in tables]


def test_every_table_that_the_code_writes_passes(lake: Lake, zoo: Path) -> None:
    for number, architecture in enumerate(["mlp", "mlp", "cnn", "resnet"]):
        write_network(zoo / f"m{number}", architecture, number, card_of("digits", run=f"r-{number}"))
    write_network(zoo / "root", "mlp")

    save_file({"weight": ones(3, 2), "bias": ones(3)}, zoo / "root" / "model.safetensors")
    (zoo / "broken").mkdir()
    (zoo / "broken" / "model.safetensors").write_bytes(b"no")
    (zoo / "empty").mkdir()
    (zoo / "empty" / "config.json").write_text("{}")
    (batch,) = ingest(lake, directory(zoo)).batches
    for table, path in tables_of(lake, batch):
        assert violations(table, path) == [], table.name
    assert len(pq.read_table(lake.wirings(batch))) == 5
    assert write_pairs(lake).total() > 0
    assert violations(PAIRS, lake.pairs) == []


def test_a_batch_of_deletions_passes(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp")
    ingest(lake, directory(zoo))
    (zoo / "a" / "model.safetensors").unlink()
    (zoo / "a" / "config.json").unlink()
    (batch,) = ingest(lake, directory(zoo)).batches
    for table, path in tables_of(lake, batch):
        assert violations(table, path) == [], table.name


def test_one_line_a_kind_of_violation(tmp_path: Path) -> None:
    records = [ModelRecord("directory", f"m{i}", "r", "u", status="odd") for i in range(50)]
    pq.write_table(to_table(records), tmp_path / "t.parquet")
    (line,) = violations(MODEL_RECORDS, tmp_path / "t.parquet")
    assert "status" in line
    assert "50" in line
    assert line.count("odd") == 1
