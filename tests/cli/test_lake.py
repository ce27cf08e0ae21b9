"""`peace status`, `list`, `show` and `forget` as a user types them, on a lake of small networks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from peace_pipeline.lake import write_parquet
from tests.pipeline import NETWORKS, Workplace, own, place, write_networks

__all__ = ["own", "place"]
FIRST = "directory:zoo/n000"


def test_status(place: Workplace) -> None:
    found = place.peace("status", "--json").json
    assert (found["models"], found["embedded"], found["sources"]) == (
        NETWORKS,
        NETWORKS,
        {"directory": NETWORKS},
    )
    assert (found["stale"], found["skipped"], found["own"]) == ({}, {}, True)
    assert found["encoder"] == found["indexed_by"]
    assert found["crawled"] >= found["changed"][:16]
    shown = place.peace("status").out
    assert f"{NETWORKS} networks" in shown
    assert "trained in this lake" in shown
    assert "skipped" not in shown


def test_status_of_a_lake_that_waits(own: Workplace) -> None:
    write_networks(own.zoo, NETWORKS, 2)
    (own.zoo / f"n{NETWORKS:03}" / "model.safetensors").write_bytes(b"no weights")
    own.peace("run")
    found = own.peace("status", "--json").json
    assert (found["models"], found["embedded"]) == (NETWORKS + 2, NETWORKS + 1)
    assert sum(found["skipped"].values()) == 1
    (skipped,) = own.peace("list", "--skipped", "--json").json
    assert skipped["model_id"] == f"directory:zoo/n{NETWORKS:03}"
    assert skipped["reason"] in own.peace("list", "--skipped").out
    (row,) = (one for one in own.peace("list", "--json").json if one["model_id"] == skipped["model_id"])
    assert (row["status"], row["reason"], row["embedded"]) == ("skipped", skipped["reason"], False)
    assert "`peace list --skipped` says why" in own.peace("list").out
    shown = own.peace("show", skipped["model_id"]).out
    assert f"skipped: {skipped['reason']}" in shown
    (kind,) = found["skipped"]
    assert "safetensors" not in kind.partition(" ")[0], "no name of a file is a kind of reason"
    own.peace("forget", FIRST)
    after = own.peace("status", "--json").json
    assert (after["crawled"], after["changed"]) == (found["crawled"], found["changed"])
    shutil.rmtree(own.zoo / f"n{NETWORKS:03}")
    own.peace("run")
    after = own.peace("status", "--json").json
    assert (after["skipped"], after["gone"]) == ({"forgotten": 1}, 1), "what is gone is not skipped"
    shutil.rmtree(own.lake.root / "responses")
    assert own.peace("status", "--json").json["stale"] == {"respond": NETWORKS}
    assert "`peace run` does it" in own.peace("status").out


def test_list(place: Workplace) -> None:
    rows = place.peace("list", "--json").json
    assert [row["model_id"] for row in rows] == [f"directory:zoo/n{number:03}" for number in range(NETWORKS)]
    assert rows[0]["embedded"] is True
    assert (rows[0]["architecture"], rows[0]["parameters"], rows[0]["datasets"]) == ("mlp", 254, ["cat"])
    some = place.peace("list", "--where", "model_id < 'directory:zoo/n003'", "-k", "2").out
    assert "n001" in some
    assert "1 more: -k 3 shows all" in some
    assert len(place.peace("list").out.splitlines()) > NETWORKS, "all where stdout is no terminal"
    assert "'colour'" in place.peace("list", "--where", "colour = 1", code=1).err.replace('"', "'")
    assert "none" in place.peace("list", "--where", "model_id = 'x'").out
    asked = "(parameters > 200 AND embedded) OR ('x' IN tags)"
    assert len(place.peace("list", "--where", asked, "--json").json) == NETWORKS, (
        "what is shown can be asked for"
    )
    assert place.peace("list", "--where", "architecture <> 'mlp'", "--json").json == []
    outside = f"model_id IN (SELECT * FROM read_text('{place.root}/peace.toml'))"
    assert "disabled" in place.peace("list", "--where", outside, code=1).err


def test_a_lake_without_models_has_none_of_any_kind(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.lake.root.mkdir(exist_ok=True)
    assert place.peace("list", "--where", "task = 'x' AND embedded AND accuracy > 0").out == "Models: none.\n"
    refused = place.peace("list", "--where", "colour = 1", code=1).err
    assert "can't be listed so" in refused
    assert "; there are " in refused
    assert " accuracy, embedded" in refused


def test_show(place: Workplace) -> None:
    document = place.peace("show", FIRST, "--json").json
    assert (document["status"], document["reason"], document["copies"]) == ("new", None, [])
    assert document["record"]["datasets"] == ["cat"]
    assert document["read"]["method"] == "chain"
    assert document["run"]["reason"]
    assert len(document["index"]["nearest"]) == 5
    shown = place.peace("show", FIRST, "-k", "2").out
    for words in ("tabular-classification", "chain", "in the index", "Nearest", "zoo/n000"):
        assert words in shown
    missed = place.peace("show", "directory:zoo/n0000", code=1).err
    assert "did you mean directory:zoo/n000" in missed


def test_a_model_that_an_earlier_version_has_read(own: Workplace) -> None:
    (batch,) = own.lake.batches()
    path = own.lake.wirings(batch)
    write_parquet(pq.read_table(path).drop_columns(["assumes", "sampled"]), path)
    document = own.peace("show", FIRST, "--json").json
    assert (document["read"]["method"], document["read"]["assumes"]) == ("chain", None)
    assert "chain" in own.peace("show", FIRST).out


def test_copies_know_of_each_other(own: Workplace) -> None:
    shutil.copytree(own.zoo / "n000", own.zoo / "copy")
    own.peace("run")
    assert own.peace("show", FIRST, "--json").json["copies"] == ["directory:zoo/copy"]


def test_forget(own: Workplace) -> None:
    assert own.peace("forget", FIRST, "--json").json == {"forgotten": [FIRST]}
    assert FIRST not in own.model_ids()
    assert "Nothing to do" in own.peace("run").out, "a crawl leaves it alone"
    assert own.peace("status", "--json").json["skipped"] == {"forgotten": 1}
    assert own.peace("show", FIRST, "--json").json["reason"] == "forgotten"
    assert "is not in the index" in own.peace("search", FIRST, code=1).err
    assert "no model or source" in own.peace("forget", "zoo", code=1).err
    assert f"peace forget {FIRST} --again" in own.peace("forget", "directory:zoo/n001").out.replace(
        "n001", "n000"
    )
    assert own.peace("forget", FIRST, "--again", "--json").json == {"remembered": [FIRST]}
    assert own.peace("run", "--json").json["new"] == 1
    assert FIRST in own.model_ids()


def test_loose_files_are_called_as_people_type_them(own: Workplace) -> None:
    weights = (own.zoo / "n000" / "model.safetensors").read_bytes()
    for name in ("a.safetensors", "b.safetensors"):
        (own.zoo / name).write_bytes(weights)
    own.peace("run")
    stored, plain = "directory:zoo/.#a.safetensors", "directory:zoo#a.safetensors"
    assert own.peace("show", plain, "--json").json["model_id"] == stored
    assert f"did you mean {stored}" in own.peace("show", str(own.zoo / "a.safetensors"), code=1).err
    assert "knows of no activation" in own.peace("show", plain).out
    nearest = own.peace("search", plain, "-k", "1", "--json").json[0]["model_id"]
    assert nearest == "directory:zoo/.#b.safetensors", "not itself"
    assert own.peace("compare", plain, "zoo#b.safetensors", "--json").json["verdict"] == "identical"
    assert own.peace("search", "zoo#b.safetensors", "-k", "2", "--json").json[0]["similarity"] > 0.9999
    assert f"did you mean {stored}" in own.peace("show", "directory:zoo#aa.safetensors", code=1).err
    assert f"did you mean {stored}" in own.peace("compare", "directory:zoo#aa.safetensors", FIRST, code=1).err
    assert own.peace("forget", plain, "--json").json == {"forgotten": [stored]}


def test_a_source_is_forgotten_as_a_whole(own: Workplace) -> None:
    found = own.peace("forget", "directory:zoo", "--json").json["forgotten"]
    assert len(found) == NETWORKS
    assert len(own.peace("forget", "directory:zoo/", "--again", "--json").json["remembered"]) == NETWORKS
    assert own.model_ids() == set()
    answer = own.peace("search", "--text", "cats").out
    assert "the index has no networks" in answer
