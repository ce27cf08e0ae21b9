"""Search: by vector, by words, by both; ranks follow the similarities; no torch for what is in the index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peace_pipeline.index.search import (
    BadFilter,
    NoIndex,
    NoResponses,
    UnknownOutput,
    indexed_output,
    indexed_vector,
    search,
    search_outputs,
)
from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES, SKETCH, VERSION
from peace_pipeline.responses.table import SCHEMA
from tests.indexed import ANIMALS, QUOTED, answer, answered, filled, process, unanswered
from tests.lakes import card_of, write_network

__all__ = ["answered", "filled", "unanswered"]


def ids(hits: list[Any]) -> list[str]:
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    return [hit.model_id.removeprefix("directory:zoo/") for hit in hits]


def test_search_by_vector(filled: Lake) -> None:
    for name in ("a", "b", QUOTED):
        vector = indexed_vector(filled, f"directory:zoo/{name}")
        assert vector is not None
        hits = search(filled, vector)
        assert ids(hits)[0] == name
        assert hits[0].similarity == pytest.approx(1, abs=1e-5)
        similarities = [hit.similarity for hit in hits]
        assert similarities == sorted(similarities, reverse=True)
        without = search(filled, vector, without=f"directory:zoo/{name}", k=1)
        assert ids(without) == ids(hits)[1:2]
    assert indexed_vector(filled, "directory:zoo/nowhere") is None
    assert indexed_vector(filled, "' OR 1=1 --") is None


def test_search_by_words_both_and_filters(filled: Lake) -> None:
    assert ids(search(filled, text="animals")) == ["b"]
    assert search(filled, text="animals")[0].similarity is None
    assert search(filled, text="zzzz") == []
    vector = indexed_vector(filled, "directory:zoo/a")
    hybrid = search(filled, vector, text="animals")
    assert set(ids(hybrid)) == {"a", "b", QUOTED}
    assert all(hit.similarity is not None for hit in hybrid)
    assert ids(search(filled, vector, where="architecture = 'cnn'")) == ["b"]
    assert ids(search(filled, vector, text="digits", where="architecture = 'cnn'")) == ["b"]
    assert ids(search(filled, text="trained", where="architecture = 'cnn' OR task IS NULL")) == ["b"]
    without = search(filled, vector, where="architecture = 'cnn' OR true", without="directory:zoo/a")
    assert set(ids(without)) == {"b", QUOTED}


@pytest.mark.parametrize(
    "where", ["no_such_column = 1", "architecture = ", "architecture = 'cnn'; DROP TABLE x", ")("]
)
@pytest.mark.parametrize("text", [None, "digits"])
def test_filters_that_cannot_be_run(filled: Lake, where: str, text: str | None) -> None:
    with pytest.raises(BadFilter):
        search(filled, indexed_vector(filled, "directory:zoo/a"), where=where, text=text)


def test_searches_that_make_no_sense(lake: Lake) -> None:
    with pytest.raises(NoIndex, match="peace run"):
        search(lake, np.ones(8, np.float32))
    with pytest.raises(NoIndex):
        indexed_vector(lake, "a")


def test_search_by_one_sense(answered: Lake) -> None:
    a = "directory:zoo/a"
    for by in ("both", "weights"):
        hits = search(answered, indexed_vector(answered, a, by), by=by)
        assert ids(hits)[0] == "a"
        assert hits[0].similarity == pytest.approx(1, abs=1e-5)
        assert set(ids(hits)) == {"a", "b", QUOTED}
    sketch = indexed_vector(answered, a, "responses")
    hits = search(answered, sketch, by="responses")
    assert ids(hits) == ["a", QUOTED], "only what was run has responses"
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert set(ids(search(answered, sketch, by="responses", text="animals"))) == {"a", QUOTED}
    assert ids(search(answered, sketch, by="responses", where="architecture = 'cnn'")) == []
    with pytest.raises(NoResponses, match="zoo/b has no responses to compare: not here"):
        indexed_vector(answered, "directory:zoo/b", "responses")
    assert indexed_vector(answered, "directory:zoo/nowhere", "responses") is None


def test_why_a_network_has_no_responses_is_said_of_its_newest_batch(answered: Lake, zoo: Path) -> None:
    b = "directory:zoo/b"
    write_network(zoo / "b", "cnn", 4, card_of("animals"))
    (batch,) = process(answered, zoo)
    answer(answered, batch)
    old, new = answered.responses(answered.batches()[0]), answered.responses(batch)
    rows = [row | {"reason": "then"} for row in pq.read_table(old).to_pylist() if row["model_id"] == b]
    write_parquet(pa.Table.from_pylist(rows, schema=SCHEMA), old)
    assert old.stat().st_mtime_ns > new.stat().st_mtime_ns, "what is newest is not what was written last"
    with pytest.raises(NoResponses, match="zoo/b has no responses to compare: not here"):
        indexed_vector(answered, b, "responses")


@pytest.mark.parametrize(
    ("outputs", "reason"), [(0, "it has no outputs"), (4, "it answers all probes alike")]
)
def test_a_network_that_was_run_may_have_no_responses(filled: Lake, outputs: int, reason: str) -> None:
    (batch,) = filled.batches()
    b = "directory:zoo/b"
    answer(filled, batch, Response(b, NUMBERS, np.zeros((PROBES, outputs), np.float32), VERSION, "torch"))
    with pytest.raises(NoResponses, match=reason):
        indexed_vector(filled, b, "responses")


def test_outputs_near_an_output_and_by_their_labels(answered: Lake) -> None:
    model_id, vector = indexed_output(answered, "directory:zoo/a:red panda")
    assert model_id == "directory:zoo/a"
    assert np.array_equal(indexed_output(answered, "directory:zoo/a:2")[1], vector)
    hits = search_outputs(answered, vector)
    assert [hit.rank for hit in hits] == list(range(1, 9))
    assert (hits[0].model_id, hits[0].place, hits[0].label) == (model_id, 2, "red panda")
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert {hit.label for hit in hits if hit.model_id != model_id} == {None}
    others = search_outputs(answered, vector, without=model_id)
    assert {hit.model_id for hit in others} == {f"directory:zoo/{QUOTED}"}
    assert [hit.label for hit in search_outputs(answered, label="panda")] == ["red panda"]
    assert search_outputs(answered, label="panda")[0].similarity is None
    assert search_outputs(answered, label="zebra") == []
    assert [hit.place for hit in search_outputs(answered, vector, where="place = 3 AND label = 'owl'")] == [3]
    assert search_outputs(answered, vector, label="dog", k=1)[0].similarity is not None
    with pytest.raises(BadFilter):
        search_outputs(answered, vector, where="no_such_column = 1")


@pytest.mark.parametrize(
    "name", ["directory:zoo/b:0", "directory:zoo/nowhere:0", "a", "directory:zoo/a", "' OR 1=1:0"]
)
def test_outputs_that_are_not_there(answered: Lake, name: str) -> None:
    with pytest.raises(UnknownOutput, match="names no output"):
        indexed_output(answered, name)


def test_labels_that_a_model_lacks_are_told_with_those_that_it_has(answered: Lake) -> None:
    with pytest.raises(UnknownOutput, match=f"no output 'cow'; it has {', '.join(ANIMALS)}"):
        indexed_output(answered, "directory:zoo/a:cow")
    with pytest.raises(UnknownOutput, match="it has 0, 1, 2, 3"):
        indexed_output(answered, f"directory:zoo/{QUOTED}:cow")


def test_where_nothing_was_run_there_are_no_outputs(unanswered: Lake) -> None:
    assert search_outputs(unanswered, label="cat") == []
    assert search(unanswered, np.ones(SKETCH, np.float32), by="responses") == []


@pytest.mark.parametrize("module", ["peace_pipeline.index", "peace_pipeline.index.search"])
def test_the_index_is_a_light_import(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'dagster', 'lightning') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
