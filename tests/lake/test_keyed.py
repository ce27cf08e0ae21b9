"""A keyed table holds one row a key, whatever was merged, and keeps its files few."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from peace_pipeline.lake.keyed import KeyedTable

SCHEMA = pa.schema([("name", pa.string()), ("kind", pa.string()), ("number", pa.int64())])


@pytest.fixture
def table(tmp_path: Path) -> KeyedTable:
    return KeyedTable(tmp_path / "tables", "things", SCHEMA, key="name", others=("kind",))


def rows(*numbers: int, kind: str = "a") -> pa.Table:
    found = [{"name": f"it's {number}", "kind": kind, "number": number} for number in numbers]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def names(found: pa.Table) -> list[str]:
    return sorted(found["name"].to_pylist())


def test_a_table_that_was_never_written_is_empty(table: KeyedTable) -> None:
    assert not table.exists
    assert (table.count(), list(table.scan()), table.rows(["it's 1"]).num_rows) == (0, [], 0)
    table.delete(["it's 1"])
    assert not table.folder.exists()


def test_rows_take_the_place_of_those_of_their_key(table: KeyedTable) -> None:
    table.merge(rows(1, 2))
    table.merge(rows(2, 3, kind="b"))
    found = table.rows(["it's 1", "it's 2", "it's 3", "it's 4"])
    assert dict(zip(found["name"].to_pylist(), found["kind"].to_pylist(), strict=True)) == {
        "it's 1": "a", "it's 2": "b", "it's 3": "b"
    }  # fmt: skip
    assert names(table.rows(["b"], ["name"], by="kind")) == ["it's 2", "it's 3"]
    table.delete(["it's 3", "it's 4"])
    assert table.count() == 2


def test_rows_stay_where_the_condition_does_not_hold(table: KeyedTable) -> None:
    table.merge(rows(1, kind="b"))
    for kind in ("a", "b"):
        table.merge(rows(1, 2, kind=kind), where="target.kind < source.kind")
    assert table.count("kind = 'b'") == 2


def test_another_reader_sees_a_write_at_once(table: KeyedTable) -> None:
    other = KeyedTable(table.folder, table.name, SCHEMA, key="name")
    table.merge(rows(1))
    assert other.count() == 1
    table.merge(rows(2))
    assert names(other.rows(["it's 1", "it's 2"])) == ["it's 1", "it's 2"]


def test_files_stay_few_and_what_is_looked_up_is_indexed(table: KeyedTable) -> None:
    table.create(rows(*range(1500)).to_batches())
    for number in range(1500, 1620):
        table.merge(rows(number))
    stats = table._table.stats()
    assert stats["fragment_stats"]["num_fragments"] < 60
    assert {column for index in table._table.list_indices() for column in index.columns} == {"name", "kind"}
    assert table.count() == 1620
    assert names(table.rows([f"it's {number}" for number in (3, 1499, 1500, 1619)])) == [
        "it's 1499", "it's 1500", "it's 1619", "it's 3"
    ]  # fmt: skip
