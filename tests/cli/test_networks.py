"""`peace embed`, `search` and `wiring` as a user types them, on a lake of small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES, VERSION
from tests.indexed import answer
from tests.pipeline import NETWORKS, Workplace, own, place

__all__ = ["own", "place"]


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
    assert list(rows[0]) == [
        *(
            "rank",
            "model_id",
            "revision",
            "source",
            "task",
            "architecture",
            "similarity",
            "as_similar",
            "score",
        ),
        *("datasets", "accuracy", "license", "parameters", "uri", "same_senses"),
    ]
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


def test_search_by_one_sense(place: Workplace) -> None:
    query = "directory:zoo/n000"
    rows = place.peace("search", query, "--by", "weights", "-k", "3", "--json").json
    assert [row["rank"] for row in rows] == [1, 2, 3]
    (itself,) = place.peace("search", "zoo/n000", "--by", "weights", "-k", "1", "--json").json
    assert (itself["model_id"], round(itself["similarity"], 4)) == (query, 1)
    assert "by" in place.peace("search", "--text", "cats", "--by", "weights", code=2).err


def test_whether_a_network_is_run_is_an_option(place: Workplace) -> None:
    asked = ("search", "zoo/n000", "--by", "responses", "--responses")
    assert "responses are off" in place.peace(*asked, "never", code=1).err
    assert "responses are off" not in place.peace(*asked, "always", code=1).err, "it has no config.json"
    assert "maybe" in place.peace("embed", "zoo/n000", "--responses", "maybe", code=2).err


def test_whether_a_network_is_run_says_the_configuration_too(own: Workplace) -> None:
    config = own.root / "peace.toml"
    config.write_text('responses = "never"\n' + config.read_text())
    asked = ("search", "zoo/n000", "--by", "responses")
    assert "responses are off" in own.peace(*asked, code=1).err
    assert "responses are off" not in own.peace(*asked, "--responses", "auto", code=1).err


@pytest.mark.parametrize("options", [["a"], ["--text", "cats"], ["--by", "weights"]])
def test_outputs_are_asked_for_by_themselves(place: Workplace, options: list[str]) -> None:
    assert "--output" in place.peace("search", "--label", "cats", *options, code=2).err


def test_search_for_outputs(own: Workplace) -> None:
    (batch,) = own.lake.batches()
    ids = [f"directory:zoo/n{number:03}" for number in range(3)]
    logits = np.random.default_rng(0).normal(size=(3, PROBES, 4)).astype(np.float32)
    names = [("cat", "dog", "red panda", "owl"), ("owl", "wolf", "bat", "eel"), None]
    found = [
        Response(key, NUMBERS, each, VERSION, "torch", labels)
        for key, each, labels in zip(ids, logits, names, strict=True)
    ]
    answer(own.lake, batch, *found)
    rows = own.peace("search", "--output", f"{ids[0]}:red panda", "--json").json
    assert list(rows[0]) == ["rank", "model_id", "revision", "place", "label", "similarity", "score"]
    assert {row["model_id"] for row in rows} == set(ids[1:])
    similarities = [row["similarity"] for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    rows = own.peace("search", "--label", "owls", "--json").json
    assert {(row["model_id"], row["place"], row["similarity"]) for row in rows} == {
        (ids[0], 3, None),
        (ids[1], 0, None),
    }
    assert "red panda" in own.peace("search", "--label", "panda").out
    assert "it has cat, dog" in own.peace("search", "--output", f"{ids[0]}:cow", code=1).err
    hits = own.peace("search", ids[0], "--by", "responses", "--json").json
    assert {hit["model_id"] for hit in hits} == set(ids[1:])
    refused = own.peace("search", "directory:zoo/n007", "--by", "responses", code=1)
    assert refused.err == "peace: directory:zoo/n007 has no responses to compare: not here\n"
    refused = own.peace("search", "zoo/n007", "--by", "responses", code=1)
    assert "zoo/n007 has no responses to compare: nothing here runs mlp" in refused.err
