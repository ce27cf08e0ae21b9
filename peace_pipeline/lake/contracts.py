"""What each table in the lake must look like: pandera schemas, checked on all columns but the large values."""

from __future__ import annotations

from pathlib import Path

import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.compute as pc
import pyarrow.parquet as pq

_STATUS = pa.Column(str, pa.Check.isin(["new", "skipped", "deleted"]))
_TEXT = pa.Column(str, pa.Check.str_length(min_value=1))
_COUNT = pa.Column("Int64", pa.Check.ge(0), nullable=True, coerce=True)
_REASON = pa.Column(nullable=True)


def _reasoned(frame: object) -> object:
    return (frame["status"] != "skipped") | frame["reason"].notna()  # type: ignore[index]


_SKIPPED_HAVE_REASONS = pa.Check(_reasoned, name="skipped rows have a reason")

TABLES: dict[str, pa.DataFrameSchema] = {
    "zoo_crawl": pa.DataFrameSchema(
        {
            "source": _TEXT,
            "model_id": _TEXT,
            "revision": _TEXT,
            "uri": _TEXT,
            "status": _STATUS,
            "reason": _REASON,
        },
        unique=["source", "model_id", "revision"],
        checks=_SKIPPED_HAVE_REASONS,
    ),
    "extracted_weights": pa.DataFrameSchema(
        {"model_id": _TEXT, "revision": _TEXT, "status": _STATUS, "reason": _REASON, "parameters": _COUNT},
        unique=["model_id"],
        checks=_SKIPPED_HAVE_REASONS,
    ),
    "wirings": pa.DataFrameSchema(
        {
            "model_id": _TEXT,
            "revision": _TEXT,
            "status": _STATUS,
            "reason": _REASON,
            "method": pa.Column(
                None, pa.Check.isin(["family", "traced", "chain", "independent"]), nullable=True
            ),
            "parameters": _COUNT,
        },
        unique=["model_id"],
        checks=_SKIPPED_HAVE_REASONS,
    ),
    "layer_tensors": pa.DataFrameSchema(
        {
            "model_id": _TEXT,
            "revision": _TEXT,
            "layer": pa.Column(int, pa.Check.ge(0), coerce=True),
            "name": _TEXT,
            "kind": _TEXT,
            "parameter": pa.Column(str, pa.Check.isin(["weight", "bias"])),
            "out_group": _TEXT,
            "dtype": _TEXT,
            "sampled": pa.Column(bool),
            "size": pa.Column(int, pa.Check.gt(0), coerce=True),
        },
        unique=["model_id", "layer", "parameter"],
    ),
    "contrastive_pairs": pa.DataFrameSchema(
        {
            "anchor": _TEXT,
            "other": _TEXT,
            "relation": pa.Column(str, pa.Check.isin(["positive", "negative"])),
            "reason": _TEXT,
        },
        unique=["anchor", "other", "reason"],
    ),
    "network_embeddings": pa.DataFrameSchema(
        {
            "model_id": _TEXT,
            "revision": _TEXT,
            "encoder_version": _TEXT,
            "norm": pa.Column(float, pa.Check.in_range(0.999, 1.001)),
        },
        unique=["model_id"],
    ),
    "layer_embeddings": pa.DataFrameSchema(
        {
            "model_id": _TEXT,
            "layer": pa.Column(int, pa.Check.ge(0), coerce=True),
            "encoder_version": _TEXT,
            "norm": pa.Column(float, pa.Check.in_range(0.999, 1.001)),
        },
        unique=["model_id", "layer"],
    ),
}


def violations(name: str, path: Path) -> list[str]:
    """How the Parquet table at ``path`` breaks the contract ``name``, one line a kind of violation."""
    frame = _readable(pq.ParquetFile(path)).to_pandas()
    try:
        TABLES[name].validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        grouped = cases.groupby(["column", "check"], dropna=False)["failure_case"]
        return [
            f"{column}: {check}: {len(found)}, e.g. {found.iloc[0]}" for (column, check), found in grouped
        ]
    return []


def _readable(file: pq.ParquetFile) -> arrow.Table:
    """The table with ``values`` replaced by its ``size`` and ``vector`` by its ``norm``."""
    heavy = {"values", "vector", "tensors", "wiring", "card"}
    names = [name for name in file.schema_arrow.names if name not in heavy]
    table = file.read(columns=names)
    if "values" in file.schema_arrow.names:
        sizes = [
            size
            for group in file.iter_batches(columns=["values"], batch_size=64)
            for size in pc.list_value_length(group["values"]).to_pylist()
        ]
        table = table.append_column("size", arrow.array(sizes, arrow.int64()))
    if "vector" in file.schema_arrow.names:
        vectors = file.read(columns=["vector"])["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
        table = table.append_column("norm", arrow.array((flat.astype(float) ** 2).sum(1) ** 0.5))
    return table
