"""Whether a table of the lake is as it is described: pandera schemas over all columns but the large ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.lake.tables import SKIPPED, TABLES, VECTORS, Table

_SIZE = pa.Column(int, pa.Check.gt(0), coerce=True)
_NORM = pa.Check.in_range(0.999, 1.001)


def violations(table: Table, path: Path) -> list[str]:
    """How the Parquet file at ``path`` breaks the contract of ``table``, one line a kind of violation."""
    schema = contract(table.name)
    frame = _readable(pq.ParquetFile(path), schema).to_pandas()
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        grouped = cases.groupby(["column", "check"], dropna=False)["failure_case"]
        return [
            f"{column}: {check}: {len(found)}, e.g. {found.iloc[0]}" for (column, check), found in grouped
        ]
    return []


@cache
def contract(name: str) -> pa.DataFrameSchema:
    """The pandera schema of a table; the size of ``values`` and the norms of vectors stand for these columns."""
    table = TABLES[name]
    columns = {field.name: column for field in table.schema if (column := _column(table, field))}
    if "values" in table.schema.names:
        columns["size"] = _SIZE
    for name in set(VECTORS) & set(table.schema.names):
        columns[f"{name}_norm"] = pa.Column(float, _NORM, nullable=table.schema.field(name).nullable)
    checks = [_SKIPPED_HAVE_REASONS] if {"status", "reason"} <= set(table.schema.names) else []
    return pa.DataFrameSchema(columns, unique=list(table.key), checks=checks)


def _column(table: Table, field: arrow.Field) -> pa.Column | None:
    """What a column must be like; ``None`` where it may hold anything."""
    if field.name in table.counts:
        return pa.Column("Int64", pa.Check.ge(0), nullable=field.nullable, coerce=True)
    if field.name in table.values:
        return pa.Column(None, pa.Check.isin(table.values[field.name]), nullable=field.nullable)
    if field.nullable and field.name == "reason":
        return pa.Column(nullable=True)
    if field.nullable or arrow.types.is_list(field.type):
        return None
    if arrow.types.is_string(field.type):
        return pa.Column(str, pa.Check.str_length(min_value=1))
    return pa.Column(bool if arrow.types.is_boolean(field.type) else None)


def _reasoned(frame: object) -> object:
    return (frame["status"] != SKIPPED) | frame["reason"].notna()  # type: ignore[index]


_SKIPPED_HAVE_REASONS = pa.Check(_reasoned, name="skipped rows have a reason")


def _readable(file: pq.ParquetFile, schema: pa.DataFrameSchema) -> arrow.Table:
    """The columns that the contract names, with the sizes of ``values`` and the norms of vectors."""
    present = file.schema_arrow.names
    table = file.read(columns=[name for name in schema.columns if name in present])
    if "values" in present:
        sizes = [
            size
            for group in file.iter_batches(columns=["values"], batch_size=64)
            for size in pc.list_value_length(group["values"]).to_pylist()
        ]
        table = table.append_column("size", arrow.array(sizes, arrow.int64()))
    for name in set(VECTORS) & set(present):
        table = table.append_column(f"{name}_norm", arrow.array(_norms(file.read(columns=[name])[name])))
    return table


def _norms(vectors: arrow.ChunkedArray) -> np.ndarray:
    """Of each vector; NaN where there is none."""
    there = vectors.is_valid().to_numpy()
    flat = vectors.drop_null().combine_chunks().flatten().to_numpy().astype(float)
    norms = np.full(len(vectors), np.nan)
    if there.any():
        norms[there] = np.linalg.norm(flat.reshape(there.sum(), -1), axis=1)
    return norms
