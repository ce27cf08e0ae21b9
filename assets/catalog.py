"""What the catalogue says of assets beside what they do: whose they are, what starts them, their columns, how fresh
they must be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from peace_pipeline.index.tables import MODELS
from peace_pipeline.lake.columns import DESCRIPTIONS
from peace_pipeline.lake.tables import TABLES

OWNERS = ["team:peace"]
STARTED = "peace/started"
BY_ITSELF, WHEN_ASKED = "by-itself", "when-asked"
"""What starts an asset: a schedule, the sensor or a `peace run`; or somebody alone."""

_ROWS = "dagster/row_count"
_COLUMNS = {table.asset: table.schema for table in TABLES.values() if table.name != "embedding_outcomes"} | {
    name: table.schema for name, table in TABLES.items() if name == table.asset
}
_COLUMNS["lancedb_index"] = MODELS.columns
_FRESH = {
    "lake_status": dg.FreshnessPolicy.time_window(timedelta(hours=6), timedelta(hours=2)),
    "collected_garbage": dg.FreshnessPolicy.time_window(timedelta(hours=50), timedelta(hours=26)),
}
"""Of what a schedule makes without fail. A crawl that finds nothing makes nothing: how old the last one is, the checks
of `lake_status` tell."""


def catalogued(assets: Iterable[Any], asked: Iterable[str]) -> list[dg.AssetsDefinition]:
    """The assets with owners, columns and freshness policies; ``asked`` names those that nothing starts by itself."""
    found = set(asked)

    def complete(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        schema = _COLUMNS.get(name)
        columns = {"dagster/column_schema": _schema(schema)} if schema else {}
        return spec.replace_attributes(
            owners=OWNERS,
            tags={**spec.tags, STARTED: WHEN_ASKED if name in found else BY_ITSELF},
            metadata={**spec.metadata, **columns},
            freshness_policy=_FRESH.get(name),
        )

    return [each for each in dg.map_asset_specs(complete, assets) if isinstance(each, dg.AssetsDefinition)]


def rows(*paths: Path) -> dict[str, int]:
    """Metadata: how many rows the Parquet files have together."""
    import pyarrow.parquet as pq

    return {_ROWS: sum(pq.read_metadata(path).num_rows for path in paths)}


def counted(number: int) -> dict[str, int]:
    """Metadata: so many rows."""
    return {_ROWS: number}


def _schema(schema: pa.Schema) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name,
                str(field.type),
                DESCRIPTIONS[field.name],
                dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
