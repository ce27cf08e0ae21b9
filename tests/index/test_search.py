"""Search: by vector, by words, by both; ranks follow the similarities; no torch for what is in the index."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from peace_pipeline.index.search import BadFilter, NoIndex, indexed_vector, search
from peace_pipeline.lake import Lake
from tests.indexed import QUOTED, filled

__all__ = ["filled"]


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


@pytest.mark.parametrize("module", ["peace_pipeline.index", "peace_pipeline.index.search"])
def test_the_index_is_a_light_import(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'dagster', 'lightning') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
