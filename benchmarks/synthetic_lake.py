"""A lake of any size, fast: synthetic records and vectors in real tables, settled in a real index.

What stages read of single batches is real (records, inventories, wirings, embeddings, the current state, the LanceDB
tables with their indexes, Dagster's partitions and runs); the tables of layers and of responses, which nothing opens
again once a batch is in the index, have no rows, and the vectors are drawn around centres instead of embedded.
"""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from peace_pipeline.assets.partitions import register
from peace_pipeline.definitions import defs
from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.index.settled import Settled, settle, unsettle_all
from peace_pipeline.index.tables import LAYERS, MODELS, OUTPUTS, IndexTable, connect, open_or_create, replace
from peace_pipeline.lake import Lake, tables, write_parquet
from peace_pipeline.lake.keyed import KeyedTable
from peace_pipeline.resources.instance import open_instance
from peace_pipeline.responses.standard import SKETCH
from peace_pipeline.responses.table import SCHEMA as RESPONSES
from peace_pipeline.stages.embed import LAYER, NETWORK, OUTPUT, written_at
from peace_pipeline.stages.index import reading
from peace_pipeline.weights.layer_table import READING
from peace_pipeline.zoo.contents import Contents
from peace_pipeline.zoo.current import SCHEMA as CURRENT

BATCH, LAYERS_A_MODEL, CENTRES = 500, 3, 2000
TINY = EncoderConfig(
    width=16, heads=4, rounds=1, token_width=128, transformer_layers=1, attention_heads=2, learned=128
)
_SIZES = {"vector": TINY.dimension, "weights": TINY.learned, "responses": SKETCH}
_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
_TASKS = ("image-classification", "text-classification", "fill-mask", "text-generation")
_FAMILIES = ("bert", "gpt2", "llama", "resnet", "vit", "t5")


def make_lake(lake: Lake, models: int, seed: int = 0) -> None:
    """Fill an empty lake with ``models`` models in batches of 500, all of them in the index."""
    torch.manual_seed(seed)
    version = store.save(lake, Encoder(TINY), {"seed": seed})
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(CENTRES, TINY.dimension)).astype(np.float32)
    names = [_batch_name(number) for number in range(-(-models // BATCH))]
    for number, batch in enumerate(names):
        numbers = np.arange(number * BATCH, min(models, (number + 1) * BATCH))
        _write_batch(lake, batch, version, numbers, generator, centres)
    _fold(lake, names)
    Contents(lake)
    _index(lake, names, version)
    _record_runs(lake, names)


def model_id(number: int) -> str:
    """The id of a synthetic model."""
    return f"org-{number % 977}/model-{number:07}"


def _batch_name(number: int) -> str:
    return (_BEGAN + timedelta(minutes=number)).strftime("%Y%m%dT%H%M%S%f")


def _write_batch(
    lake: Lake,
    batch: str,
    version: str,
    numbers: np.ndarray,
    generator: np.random.Generator,
    centres: np.ndarray,
) -> None:
    ids = [model_id(number) for number in numbers]
    keys = {"model_id": ids, "revision": [hashlib.sha1(name.encode()).hexdigest() for name in ids]}
    parts = _vectors(len(ids), generator, centres[:, : TINY.learned])
    layered = {name: np.repeat(values, LAYERS_A_MODEL) for name, values in keys.items()}
    positions = np.tile(np.arange(LAYERS_A_MODEL, dtype=np.int32), len(ids))
    rows = {
        lake.zoo(batch): (tables.MODEL_RECORDS.schema, keys | _record(numbers, ids)),
        lake.inventory(batch): (
            tables.INVENTORY.schema,
            keys | {"status": ["new"] * len(ids), "content": keys["revision"], "parameters": numbers + 1000},
        ),
        lake.wirings(batch): (
            tables.WIRINGS.schema.with_metadata(READING),
            keys
            | {"status": ["new"] * len(ids), "method": ["family"] * len(ids), "parameters": numbers + 1000},
        ),
        lake.layers(batch): (tables.LAYERS.schema, {}),
        lake.responses(batch): (RESPONSES, {}),
        lake.embeddings(LAYER, version, batch): (
            tables.LAYER_EMBEDDINGS.sized(vector=TINY.token_width),
            layered
            | {
                "encoder_version": [version] * len(positions),
                "layer": positions,
                "name": [f"layer.{position}" for position in positions],
                "kind": ["linear"] * len(positions),
                "vector": parts.take(np.repeat(np.arange(len(ids)), LAYERS_A_MODEL)),
            },
        ),
        lake.embeddings(NETWORK, version, batch): (
            tables.NETWORK_EMBEDDINGS.sized(vector=TINY.dimension, weights=TINY.learned),
            keys
            | {
                "encoder_version": [version] * len(ids),
                "embedded_at": [_BEGAN] * len(ids),
                "vector": _vectors(len(ids), generator, centres),
                "weights": parts,
            },
        ),
        lake.embeddings(OUTPUT, version, batch): (
            tables.OUTPUT_EMBEDDINGS.sized(vector=TINY.token_width),
            {},
        ),
    }
    for path, (schema, columns) in rows.items():
        write_parquet(_table(schema, columns), path)


def _record(numbers: np.ndarray, ids: list[str]) -> dict[str, list[object]]:
    families = [_FAMILIES[number % len(_FAMILIES)] for number in numbers]
    tasks = [_TASKS[number % len(_TASKS)] for number in numbers]
    return {
        "source": ["huggingface"] * len(ids),
        "uri": [f"https://hub.example/{name}" for name in ids],
        "etag": [hashlib.md5(name.encode()).hexdigest() for name in ids],
        "architecture": families,
        "library": ["transformers"] * len(ids),
        "task": tasks,
        "datasets": [[f"data-{number % 5003}"] for number in numbers],
        "card": [
            f"A {f} for {t}, tuned on data-{n % 5003}."
            for f, t, n in zip(families, tasks, numbers, strict=True)
        ],
        "parameters": (numbers + 1000).tolist(),
        "status": ["new"] * len(ids),
    }


def _vectors(count: int, generator: np.random.Generator, centres: np.ndarray) -> pa.Array:
    noise = generator.standard_normal((count, centres.shape[1]), np.float32)
    vectors = centres[generator.integers(len(centres), size=count)] + 0.7 * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), centres.shape[1])


def _table(schema: pa.Schema, columns: dict[str, object]) -> pa.Table:
    rows = len(columns["model_id"]) if columns else 0  # type: ignore[arg-type]
    arrays = [
        columns[field.name]
        if isinstance(columns.get(field.name), pa.Array)
        else pa.array(columns.get(field.name, [None] * rows), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _fold(lake: Lake, batches: list[str]) -> None:
    """The current state of all batches at once; what is crawled later is folded by the code itself."""

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            table = pq.read_table(lake.zoo(batch))
            table = table.append_column("batch", pa.array([batch] * len(table)))
            yield from table.select(CURRENT.names).cast(CURRENT).to_batches()

    KeyedTable(lake.current, "models", CURRENT, key="model_id").create(rows())
    (lake.current / "folded").write_text(batches[-1])


def _index(lake: Lake, batches: list[str], version: str) -> None:
    """The tables of the index, in one commit each, and every batch settled."""

    def rows(kind: IndexTable, level: str) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            embedded = pq.read_table(lake.embeddings(level, version, batch))
            columns = {name: embedded[name].combine_chunks() for name in embedded.column_names}
            if kind is MODELS:
                records = pq.read_table(lake.zoo(batch), columns=_INDEXED)
                columns |= {name: records[name].combine_chunks() for name in _INDEXED}
                columns["content"] = columns["revision"]
            elif kind is LAYERS:
                ids = zip(columns["model_id"].to_pylist(), columns["layer"].to_pylist(), strict=True)
                columns["layer_id"] = pa.array([f"{name}#{layer}" for name, layer in ids])
            yield from _table(kind.schema(sizes[kind.name]), columns).to_batches()

    unsettle_all(lake)
    database, part = connect(lake), {"vector": TINY.token_width}
    sizes = {LAYERS.name: part, OUTPUTS.name: part, MODELS.name: _SIZES}
    open_or_create(database, OUTPUTS, part)
    for kind, level in ((LAYERS, LAYER), (MODELS, NETWORK)):
        open_or_create(database, kind, sizes[kind.name])
        replace(database, kind, sizes[kind.name], rows(kind, level))
    written = written_at(lake, version, batches)
    settle(lake, {batch: Settled(version, reading(), written[batch]) for batch in batches})


_INDEXED = ["source", "task", "datasets", "architecture", "library", "license", "parameters", "tags", "card"]


def _record_runs(lake: Lake, batches: list[str]) -> None:
    """Dagster's partitions, and a finished run of each: one is made by Dagster, the others are copies of its rows."""
    instance = open_instance(lake)
    register(instance, lake)
    tags = {"dagster/partition": batches[0]}
    first = instance.create_run_for_job(
        defs.resolve_job_def("embed_batch"), tags=tags, status=dg.DagsterRunStatus.SUCCESS
    )
    replaced = "replace(replace({}, :first, :run), :from, :batch)"
    copied = ("run_id", "snapshot_id", "pipeline_name", "status", "run_body", "partition")
    columns = ", ".join(map(replaced.format, copied))
    values = [
        {"first": first.run_id, "from": batches[0], "run": str(uuid.uuid4()), "batch": batch}
        for batch in batches[1:]
    ]
    with sqlite3.connect(lake.dagster / "history" / "runs.db") as database:
        sql = f"INSERT INTO runs ({', '.join(copied)}) SELECT {columns} FROM runs WHERE run_id = :first"
        database.executemany(sql, values)
        sql = f"INSERT INTO run_tags (run_id, key, value) SELECT :run, key, {replaced.format('value')} FROM run_tags"
        database.executemany(f"{sql} WHERE run_id = :first", values)
