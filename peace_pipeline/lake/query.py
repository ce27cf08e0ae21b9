"""SQL over the lake: an in-memory DuckDB over Arrow tables and Parquet files."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "1GB"


def query(
    sql: str, tables: Mapping[str, pa.Table | pa.RecordBatchReader] | None = None, **parameters: object
) -> pa.Table:
    """Run SQL in an in-memory DuckDB over ``tables`` and files. A path's last part may be a pattern.

    What takes more than ``MEMORY`` on the way goes through a temporary folder.
    """
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="peace-") as spilled,
        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spilled}) as connection,
    ):
        for name, table in (tables or {}).items():
            connection.register(name, table)
        values = {
            name: f"{glob.escape(str(value.parent))}/{value.name}" if isinstance(value, Path) else value
            for name, value in parameters.items()
        }
        return connection.sql(sql, params=values).to_arrow_table()


def matching(rows: pa.Table, where: str) -> pa.Table:
    """The rows for which ``where`` holds: an expression of DuckDB's over their columns, as a user types it. It reaches
    no file and no network.

    Raises:
        duckdb.Error: where it is no such expression.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.register("models", rows)
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        return connection.table("models").filter(where).to_arrow_table()
