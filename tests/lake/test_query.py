"""SQL over tables in memory and Parquet files of the lake."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from peace_pipeline.lake import write_parquet
from peace_pipeline.lake.query import matching, query


def test_tables_are_joined_by_their_names_and_parameters_are_values() -> None:
    models = pa.table({"name": ["it's a", "b"], "size": [1, 2]})
    others = pa.table({"name": ["b", "c"], "kind": ["x", "y"]})
    found = query("SELECT * FROM models JOIN others USING (name)", {"models": models, "others": others})
    assert found.to_pylist() == [{"name": "b", "size": 2, "kind": "x"}]
    found = query("SELECT size FROM models WHERE name = $name", {"models": models}, name="it's a")
    assert found.to_pylist() == [{"size": 1}]


def test_a_stream_of_rows_is_a_table() -> None:
    rows = pa.table({"size": range(5000)})
    stream = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(100))
    assert query("SELECT sum(size) AS total FROM rows", {"rows": stream})["total"].to_pylist() == [12497500]


def test_only_the_last_part_of_a_path_is_a_pattern(tmp_path: Path) -> None:
    for folder in ("zoo[1]", "zoo1"):
        for batch in ("a", "b"):
            write_parquet(pa.table({"name": [f"{folder}/{batch}"]}), tmp_path / folder / f"{batch}.parquet")
    found = query(
        "SELECT name FROM read_parquet($path) ORDER BY name", path=tmp_path / "zoo[1]" / "*.parquet"
    )
    assert found["name"].to_pylist() == ["zoo[1]/a", "zoo[1]/b"]


MODELS = pa.table({"name": ["a", "b"], "size": [1, 2]})


def test_rows_are_those_for_which_an_expression_holds() -> None:
    for where in ("size > 1", "name IN (SELECT max(name) FROM models)", "name = 'b' OR (size > 5)"):
        assert matching(MODELS, where)["name"].to_pylist() == ["b"]
    assert matching(MODELS.slice(0, 0), "size > 1").num_rows == 0


def test_what_a_user_types_is_one_expression_and_touches_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("word\nb\n")
    for where in (
        "size >",
        "",
        "colour = 1",
        f"name IN (SELECT word FROM read_csv('{tmp_path}/secret.csv'))",
        f"name IN (SELECT word FROM '{tmp_path}/secret.csv')",
        "true); SELECT 'b' AS name; --",
        f"true); COPY (SELECT 1) TO '{tmp_path}/written.csv'; SELECT * FROM models WHERE (true",
        f"true); CALL enable_logging(storage='file', storage_config={{'path': '{tmp_path}/log'}}); SELECT (true",
    ):
        with pytest.raises(duckdb.Error):
            matching(MODELS, where)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_what_is_spilled_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (folder,) = query("SELECT current_setting('temp_directory') AS folder")["folder"].to_pylist()
    assert Path(folder).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
