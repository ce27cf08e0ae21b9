"""The layer table: one row a layer's parameter, one row group a model (or a part of a large one)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake.tables import LAYERS

READING = {"peace.reading": "3"}
"""How checkpoints are read into layers and wirings, as metadata of the tables: another number makes a batch stale."""

ROW_GROUP_BYTES = 64 << 20


@dataclass(frozen=True)
class LayerRow:
    """One parameter of one layer of one model; ``values`` is float32 of the row's shape."""

    model_id: str
    revision: str
    layer: int
    name: str
    kind: str
    parameter: str
    out_group: str
    in_group: str | None
    dtype: str
    values: np.ndarray
    sampled: bool


class LayerTableWriter:
    """Streams layer rows to a Parquet file. Memory is bounded by the largest layer or ``row_group_bytes``."""

    def __init__(self, path: Path, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._row_group_bytes = row_group_bytes
        self._writer = pq.ParquetWriter(
            path,
            LAYERS.schema,
            compression="zstd",
            use_dictionary=[
                "model_id",
                "revision",
                "name",
                "kind",
                "parameter",
                "out_group",
                "in_group",
                "dtype",
            ],
            column_encoding={"values.list.element": "BYTE_STREAM_SPLIT"},
        )
        self._rows: list[LayerRow] = []
        self._bytes = 0

    def __enter__(self) -> LayerTableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        self._writer.close()

    def write_model(self, rows: Iterable[LayerRow]) -> None:
        """Write the rows of one model; they start a row group of their own.

        Where ``rows`` raises, what is buffered of the model is dropped; readers take the models whose wiring
        was written.
        """
        self.flush()
        try:
            for row in rows:
                self._rows.append(row)
                self._bytes += row.values.nbytes
                if self._bytes >= self._row_group_bytes:
                    self.flush()
        except BaseException:
            self._rows, self._bytes = [], 0
            raise

    def flush(self) -> None:
        """Write what is buffered as a row group."""
        if self._rows:
            self._writer.write_table(_to_table(self._rows))
            self._rows, self._bytes = [], 0


def _to_table(rows: list[LayerRow]) -> pa.Table:
    columns = {
        name: pa.array([getattr(row, name) for row in rows], LAYERS.schema.field(name).type)
        for name in LAYERS.schema.names
        if name not in ("shape", "values")
    }
    columns["shape"] = pa.array([list(row.values.shape) for row in rows], pa.list_(pa.int64()))
    offsets = np.cumsum([0, *(row.values.size for row in rows)], dtype=np.int32)
    flat = np.concatenate([row.values.ravel() for row in rows]).astype(np.float32, copy=False)
    columns["values"] = pa.ListArray.from_arrays(offsets, flat)
    return pa.table([columns[name] for name in LAYERS.schema.names], schema=LAYERS.schema)


def read_models(path: Path, model_ids: set[str] | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield model id and tensors (``LAYER.parameter`` → float32 array) of each model in the file, in its order.

    With ``model_ids`` the row groups of other models are not read.
    """
    with pq.ParquetFile(path) as file:
        column = LAYERS.schema.get_field_index("model_id")
        tensors: dict[str, np.ndarray] = {}
        current: str | None = None
        for number in range(file.num_row_groups):
            statistics = file.metadata.row_group(number).column(column).statistics
            model_id = statistics.min
            if model_ids is not None and model_id not in model_ids:
                continue
            if current is not None and model_id != current:
                yield current, tensors
                tensors = {}
            current = model_id
            tensors |= _tensors(
                file.read_row_group(number, columns=["layer", "parameter", "shape", "values"])
            )
        if current is not None:
            yield current, tensors


def _tensors(table: pa.Table) -> dict[str, np.ndarray]:
    values = table["values"].combine_chunks()
    flat, offsets = values.values.to_numpy(zero_copy_only=True), values.offsets.to_numpy()
    names = zip(table["layer"].to_pylist(), table["parameter"].to_pylist(), strict=True)
    return {
        f"{layer}.{parameter}": flat[offsets[row] : offsets[row + 1]].reshape(shape)
        for row, ((layer, parameter), shape) in enumerate(zip(names, table["shape"].to_pylist(), strict=True))
    }


def is_read_alike(path: Path) -> bool:
    """Whether a table was written by this way of reading."""
    metadata = pq.read_schema(path).metadata or {}
    return all(metadata.get(key.encode()) == value.encode() for key, value in READING.items())
