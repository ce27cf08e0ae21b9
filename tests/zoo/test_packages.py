"""The packages source: weights are read out of wheels; nothing in them is imported, installed or trusted."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.extraction import skipped_models
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.catalog import newest_records
from peace_pipeline.zoo.crawling import CrawlSummary, crawl_zoo
from peace_pipeline.zoo.packages import parse_requirements
from tests.conftest import ingest

STATE = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(2, 3)}
SAFETENSORS = save(STATE)
ABSENT = "peace-test-package-that-cannot-exist"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty wheelhouse; pip asks no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def wheel(wheels: Path, name: str, contents: dict[str, bytes | str], version: str = "1.0") -> Path:
    """A wheel of these files."""
    path = wheels / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, content in contents.items():
            archive.writestr(inner, content)
    return path


def config_of(wheels: Path, *lines: str) -> ZooConfig:
    (wheels / "requirements.txt").write_text("\n".join(lines))
    options = {"kind": "packages", "requirements": "requirements.txt", "wheelhouse": str(wheels)}
    return ZooConfig((options,), wheels)


def as_torch(tmp_path: Path) -> bytes:
    torch.save(STATE, tmp_path / "x.pt")
    return (tmp_path / "x.pt").read_bytes()


def reasons(summary: CrawlSummary) -> dict[str, str]:
    return {entry["model_id"]: entry["reason"] for entry in summary.skipped}


def test_every_weight_file_of_a_wheel_is_a_model(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "many_nets", {
        "many/a.safetensors": SAFETENSORS,
        "many/b.pt": as_torch(tmp_path),
        "many/c.onnx": b"onnx",
        "many/hub/config.json": '{"model_type": "bert"}',
        "many/hub/model.safetensors": SAFETENSORS,
        "many/__init__.py": "",
        "many/data/config.json": "{}",
    })  # fmt: skip
    summary = ingest(lake, config_of(wheels, "many-nets==1.0"))
    prefix = "packages:many-nets/many"
    names = ("a.safetensors", "b.pt", "c.onnx", "hub/model.safetensors")
    assert summary.new == [f"{prefix}/{name}" for name in names]
    skipped = {entry["model_id"]: entry["reason"] for entry in skipped_models(lake, summary.batches[0])}
    assert skipped == {f"{prefix}/c.onnx": "c.onnx: format onnx is not supported yet"}
    records = newest_records(lake)
    assert records[f"{prefix}/hub/model.safetensors"].architecture == "bert"
    assert records[f"{prefix}/a.safetensors"].library == "many-nets"
    assert not list((lake.root / "zoo" / "packages").rglob("*.py"))
    assert not list((lake.root / "zoo" / "packages").rglob("data"))
    again = crawl_zoo(lake, config_of(wheels, "many-nets==1.0"))
    assert not again.batches


def test_a_new_version_changes_the_models_and_drops_those_it_lost(lake: Lake, wheels: Path) -> None:
    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS, "net/b.safetensors": SAFETENSORS})
    crawl_zoo(lake, config_of(wheels, "net==1.0"))
    other = save(STATE | {"0.weight": torch.zeros(3, 2)})
    wheel(wheels, "net", {"net/a.safetensors": other}, version="2.0")
    summary = crawl_zoo(lake, config_of(wheels, "net==2.0"))
    assert summary.changed == ["packages:net/net/a.safetensors"]
    assert summary.deleted == ["packages:net/net/b.safetensors"]
    assert crawl_zoo(lake, config_of(wheels)).deleted == ["packages:net/net/a.safetensors"]


def test_a_package_that_is_listed_again_comes_back(lake: Lake, wheels: Path) -> None:
    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS})
    for listed, new, deleted in (
        (["net==1.0"], 1, 0),
        ([], 0, 1),
        (["net==1.0"], 1, 0),
        (["net==1.0"], 0, 0),
    ):
        summary = crawl_zoo(lake, config_of(wheels, *listed))
        assert (len(summary.new), len(summary.deleted)) == (new, deleted)


def test_nothing_is_imported(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    code = f"open({str(marker)!r}, 'w').close()"
    wheel(wheels, "eager", {
        "eager/__init__.py": code,
        "eager/setup.py": code,
        "eager.pth": f"import pathlib; {code}",
        "eager/a.safetensors": SAFETENSORS,
    })  # fmt: skip
    assert "packages:eager/eager/a.safetensors" in ingest(lake, config_of(wheels, "eager==1.0")).new
    assert "eager" not in sys.modules
    assert not marker.exists()


def test_names_that_climb_out_of_the_folder_stay_in_it(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    names = ["../../../../evil.safetensors", "/tmp/peace-evil.safetensors", "x/../../evil2.safetensors"]
    wheel(wheels, "evil", dict.fromkeys(names, SAFETENSORS))
    before = {path for path in tmp_path.rglob("*evil*.safetensors")}
    assert len(crawl_zoo(lake, config_of(wheels, "evil==1.0")).new) == 3
    written = {path for path in tmp_path.rglob("*evil*.safetensors")} - before
    inside = lake.root / "zoo" / "packages" / "evil-1.0"
    assert len(written) == 3
    assert all(path.is_relative_to(inside) for path in written)
    assert not Path("/tmp/peace-evil.safetensors").exists()


def test_wheels_that_cannot_be_had_or_unpacked(lake: Lake, wheels: Path) -> None:
    (wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"not a zip archive")
    whole = wheel(wheels, "cut", {"cut/a.safetensors": SAFETENSORS * 100})
    content = bytearray(whole.read_bytes())
    content[60:80] = bytes(20)
    whole.write_bytes(content)
    wheel(wheels, "good", {"good/a.safetensors": SAFETENSORS})
    config = config_of(wheels, "broken==1.0", "cut==1.0", f"{ABSENT}==1.0", "good==1.0")
    found = reasons(crawl_zoo(lake, config))
    assert found.keys() == {"packages:broken", "packages:cut", f"packages:{ABSENT}"}
    assert "can't be unpacked" in found["packages:broken"]
    assert "can't be unpacked" in found["packages:cut"]
    assert "could not be downloaded" in found[f"packages:{ABSENT}"]
    assert newest_records(lake)["packages:good/good/a.safetensors"].status == "new"
    assert not crawl_zoo(lake, config).batches


def test_a_package_that_becomes_available_replaces_its_skipped_record(lake: Lake, wheels: Path) -> None:
    assert reasons(crawl_zoo(lake, config_of(wheels, f"{ABSENT}==1.0")))
    wheel(wheels, ABSENT.replace("-", "_"), {"a.safetensors": SAFETENSORS})
    summary = crawl_zoo(lake, config_of(wheels, f"{ABSENT}==1.0"))
    assert summary.new == [f"packages:{ABSENT}/a.safetensors"]
    assert summary.deleted == [f"packages:{ABSENT}"]
    assert not crawl_zoo(lake, config_of(wheels, f"{ABSENT}==1.0")).batches


def test_a_wheel_that_is_gone_keeps_its_models(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    import shutil

    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS}).rename(wheels / "Net-1.0-py3-none-any.whl")
    assert len(crawl_zoo(lake, config_of(wheels, "net==1.0")).new) == 1
    shutil.rmtree(lake.root / "zoo" / "packages")
    (wheels / "Net-1.0-py3-none-any.whl").unlink()
    assert not crawl_zoo(lake, config_of(wheels, "net==1.0")).batches


def test_requirements() -> None:
    text = "# note\n\n--index-url x\nA_b==1.0 --hash=sha256:0 # why\nc.d == 2 \\\n  --hash=sha256:1\n"
    assert [(each.name, each.version) for each in parse_requirements(text)] == [("a_b", "1.0"), ("c.d", "2")]
    with pytest.raises(ConfigError, match="pins no version"):
        parse_requirements("torch>=2")


def test_requirements_that_are_not_there(lake: Lake, wheels: Path) -> None:
    config = ZooConfig(({"kind": "packages", "requirements": "nowhere.txt"},), wheels)
    with pytest.raises(ConfigError, match=r"nowhere\.txt"):
        crawl_zoo(lake, config)
