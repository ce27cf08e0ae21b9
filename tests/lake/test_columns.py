"""Every column says what it holds."""

from __future__ import annotations

from peace_pipeline.index.tables import INDEX_TABLES
from peace_pipeline.lake.columns import DESCRIPTIONS
from peace_pipeline.lake.tables import TABLES


def test_every_column_has_a_description_and_every_description_a_column() -> None:
    schemas = [table.schema for table in TABLES.values()] + [table.columns for table in INDEX_TABLES.values()]
    assert DESCRIPTIONS.keys() == {name for schema in schemas for name in schema.names}
