"""Each table of the lake is described once: the lake's paths and the asset checks follow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import LAYER_EMBEDDINGS, NETWORK_EMBEDDINGS, OUTPUT_EMBEDDINGS, TABLES, Table

PARTS = {"batch": "b", "encoder_version": "v"}


def test_no_two_tables_share_a_name_or_a_path() -> None:
    assert {name: table.name for name, table in TABLES.items()} == {name: name for name in TABLES}
    assert len({table.path for table in TABLES.values()}) == len(TABLES)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_what_is_said_of_columns_is_said_of_its_columns(table: Table) -> None:
    named = {*table.key, *table.values, *table.counts}
    assert named <= set(table.schema.names)
    assert table.key
    assert all(pa.types.is_integer(table.schema.field(name).type) for name in table.counts)


def test_the_lake_s_paths_are_those_of_its_tables(lake: Lake) -> None:
    paths = {table.under(lake.root, **PARTS) for table in TABLES.values()}
    known = {
        lake.zoo("b"),
        lake.inventory("b"),
        lake.layers("b"),
        lake.wirings("b"),
        lake.responses("b"),
        lake.pairs,
    }
    assert known | {lake.embeddings(level, "v", "b") for level in ("network", "layer", "output")} <= paths
    assert all(path.is_relative_to(lake.root) for path in paths)


def test_paths_may_be_patterns(lake: Lake) -> None:
    pattern = NETWORK_EMBEDDINGS.under(lake.root, encoder_version="v", batch="*")
    assert pattern == Path(lake.root, "embeddings", "v", "network", "*.parquet")


def test_vectors_are_of_one_size(lake: Lake) -> None:
    for table in (NETWORK_EMBEDDINGS, LAYER_EMBEDDINGS, OUTPUT_EMBEDDINGS):
        schema = table.sized(vector=4)
        assert schema.field("vector").type == pa.list_(pa.float32(), 4)
        assert not schema.field("vector").nullable
        assert schema.names == table.schema.names
