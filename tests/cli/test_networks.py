"""`peace embed`, `search` and `wiring` as a user types them, on a lake of small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.pipeline import NETWORKS, Workplace, place

__all__ = ["place"]


def test_embed(place: Workplace, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    paths = ["zoo/n001", "zoo/nowhere", "zoo/n000/model.safetensors", "hf://name"]
    answer = place.peace_alone("embed", *paths, "--out", out, "--dtype", "float64", "--json", code=1)
    rows = answer.json
    assert [row["path"] for row in rows] == paths
    assert [sorted(row) for row in rows[1::2]] == [["encoder_version", "error", "path"]] * 2
    assert "not of the form hf://org/name" in rows[3]["error"]
    for row in rows[::2]:
        assert (row["wiring"], row["parameters"], row["sampled"]) == ("chain", 254, False)
        assert np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-12)
    assert np.allclose(rows[0]["vector"], place.vectors()["directory:zoo/n001"], atol=1e-4)
    assert pq.read_table(out)["vector"].to_pylist()[0] == rows[0]["vector"]
    assert answer.err == "peace: 2 of 4 could not be embedded\n"
    assert "zoo/n001" in place.peace("embed", "zoo/n001").out


def test_search(place: Workplace) -> None:
    query = "directory:zoo/n000"
    rows = place.peace("search", query, "-k", "5", "--json").json
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert list(rows[0]) == ["rank", "model_id", "revision", "source", "task", "architecture", "similarity"]
    assert query not in [row["model_id"] for row in rows]
    similarities = [row["similarity"] for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    (itself,) = place.peace("search", "zoo/n000", "-k", "1", "--json").json
    assert itself["model_id"] == query
    filtered = place.peace("search", query, "--where", "model_id < 'directory:zoo/n003'", "--json").json
    assert {row["model_id"] for row in filtered} == {"directory:zoo/n001", "directory:zoo/n002"}
    words = place.peace("search", "--text", "cats", "-k", "100", "--json").json
    assert {row["similarity"] for row in words} == {None}
    assert len(words) == NETWORKS // 2
    both = place.peace("search", query, "--text", "dogs", "--json").json
    assert all(row["similarity"] is not None for row in both)
    assert "n00" in place.peace("search", query).out
