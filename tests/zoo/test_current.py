"""The current state is what all batches together say, whoever folds them and whenever they are killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.query import query
from peace_pipeline.lake.tables import DELETED, NEW, SKIPPED
from peace_pipeline.zoo.current import Current, newest_batch, newest_record
from peace_pipeline.zoo.record import ModelFile, ModelRecord, to_table

NEWEST = """
    SELECT * EXCLUDE (filename), parse_filename(filename, true) AS batch
    FROM read_parquet($zoo, filename = true)
    QUALIFY row_number() OVER (PARTITION BY model_id ORDER BY batch DESC) = 1
    ORDER BY model_id
"""
"""What the state stands for, derived from all batches."""

HISTORIES = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([NEW, SKIPPED, DELETED]), min_size=1),
    max_size=6,
)


def record(model_id: str, status: str = NEW, revision: str = "r") -> ModelRecord:
    reason = None if status == NEW else "why"
    return ModelRecord("directory", model_id, revision, "file:///m", status=status, reason=reason)


def store(lake: Lake, number: int, *records: ModelRecord) -> str:
    batch = f"{number:020d}"
    write_parquet(to_table(records), lake.zoo(batch))
    return batch


def state(lake: Lake) -> pa.Table:
    current = Current(lake)
    return pa.Table.from_batches(current.scan(), current.models.schema).sort_by("model_id")


@settings(max_examples=12, deadline=None)
@given(HISTORIES, st.sets(st.integers(0, 5)))
def test_the_state_is_what_all_batches_say(history: list[dict[str, str]], opened: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(folder)
        for number, batch in enumerate(history):
            store(lake, number, *(record(name, status, f"r{number}") for name, status in batch.items()))
            if number in opened:
                Current(lake)
        found = state(lake)
        if history:
            assert found.to_pylist() == query(NEWEST, zoo=lake.zoo("[!.]*")).to_pylist()
        for batch in Current(lake).batches():
            here = [row["model_id"] for row in found.to_pylist() if row["batch"] == batch]
            assert sorted(Current(lake).newest(batch, ["model_id"])["model_id"].to_pylist()) == here


def test_a_lake_without_batches_has_an_empty_state(lake: Lake) -> None:
    current = Current(lake)
    assert (current.batches(), current.count(), current.records(["a"]), list(current.scan())) == (
        [],
        0,
        {},
        [],
    )
    assert current.rows(["a"]).num_rows == 0
    assert not lake.current.exists()


def test_a_record_comes_back_as_it_was_stored(lake: Lake) -> None:
    full = ModelRecord(
        "huggingface", "a/b'c", "r", "https://h/a", "e", (ModelFile("x.bin", 3, None, "pytorch"),), "bert",
        datasets=("d",), metrics={"accuracy": 0.5}, hyperparameters={"run": "1"}, seed=-3, card="# é",
    )  # fmt: skip
    store(lake, 1, full, record("other"))
    assert Current(lake).records(["a/b'c", "unknown"]) == {"a/b'c": full}


def test_rows_are_looked_up_and_scanned_by_columns(lake: Lake) -> None:
    store(lake, 1, *(record(f"m{number}", SKIPPED if number % 2 else NEW) for number in range(2500)))
    current = Current(lake)
    wanted = [f"m{number}" for number in range(1500)]
    found = current.rows([*wanted, *wanted, "unknown"], ["status", "model_id"])
    assert found.column_names == ["status", "model_id"]
    assert sorted(found["model_id"].to_pylist()) == sorted(wanted)
    assert sum(rows.num_rows for rows in current.scan(["model_id"], "status = 'skipped'")) == 1250
    assert current.count("status = 'new'") == 1250


def test_a_batch_that_a_killed_process_left_is_folded_by_the_next(lake: Lake) -> None:
    store(lake, 1, record("a"), record("b"))
    killed = (
        "import os, signal, sys; from pathlib import Path; from peace_pipeline.lake import Lake;"
        "from peace_pipeline.zoo import current;"
        "current.atomic = lambda path: os.kill(os.getpid(), signal.SIGKILL);"
        "current.Current(Lake.open(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(lake.root)], check=False)
    assert done.returncode == -9
    store(lake, 2, record("b", DELETED))
    assert Current(lake).batches() == [f"{number:020d}" for number in (1, 2)]
    assert {row["model_id"]: row["status"] for row in state(lake).to_pylist()} == {"a": NEW, "b": DELETED}


def test_a_lake_without_a_state_is_folded_once(lake: Lake) -> None:
    for number in range(30):
        store(lake, number, *(record(f"m{number % 7}-{each}", revision=f"r{number}") for each in range(50)))
    expected = query(NEWEST, zoo=lake.zoo("[!.]*")).to_pylist()
    assert state(lake).to_pylist() == expected
    before = sorted(path.name for path in lake.current.rglob("*"))
    assert state(lake).to_pylist() == expected
    assert sorted(path.name for path in lake.current.rglob("*")) == before
    shutil.rmtree(lake.current)
    assert state(lake).to_pylist() == expected


def test_a_first_fold_that_was_broken_off_is_done_again(lake: Lake) -> None:
    store(lake, 1, record("a"))
    (lake.current / "models.lance" / "data").mkdir(parents=True)
    (lake.current / "models.lance" / "data" / "half.lance").write_bytes(b"half")
    assert Current(lake).count() == 1
    shutil.rmtree(lake.current / "models.lance")
    assert Current(lake).count() == 1


def test_processes_that_fold_at_once_agree(lake: Lake) -> None:
    for number in range(12):
        store(
            lake, number, *(record(f"m{each}", revision=f"r{number}") for each in range(number, number + 40))
        )
    fold = "import sys; from peace_pipeline.lake import Lake; from peace_pipeline.zoo.current import Current;"
    fold += "print(Current(Lake.open(sys.argv[1])).count())"
    processes = [
        subprocess.Popen([sys.executable, "-c", fold, str(lake.root)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[0].split() for process in processes] == [[b"51"]] * 3
    assert state(lake).to_pylist() == query(NEWEST, zoo=lake.zoo("[!.]*")).to_pylist()


def test_a_reader_sees_what_others_fold(lake: Lake) -> None:
    store(lake, 1, record("a"))
    reader = Current(lake)
    assert reader.count() == 1
    batch = store(lake, 2, record("b"))
    Current(lake)
    assert (reader.count(), reader.batches()[-1]) == (2, batch)


def test_the_state_of_a_folded_lake_is_read_where_nothing_can_be_written(lake: Lake) -> None:
    store(lake, 1, record("a"))
    Current(lake)
    files = [lake.root, *lake.root.rglob("*")]
    for path in files:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert Current(lake).records(["a"]) == {"a": record("a")}
    finally:
        for path in files:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_one_record_is_found_without_folding(lake: Lake) -> None:
    store(lake, 1, record("a"), record("b"))
    store(lake, 2, record("a", revision="later"))
    found = [newest_record(lake, name) for name in ("a", "b", "c")]
    assert found == [record("a", revision="later"), record("b"), None]
    assert not lake.current.exists()
    Current(lake)
    assert [newest_record(lake, name) for name in ("a", "b", "c")] == found
    assert [newest_batch(lake, name) for name in ("a", "b", "c")] == [f"{2:020d}", f"{1:020d}", None]
    store(lake, 3, record("b", DELETED))
    assert newest_record(lake, "b") == record("b", DELETED)
    assert newest_batch(lake, "b") == f"{3:020d}"
