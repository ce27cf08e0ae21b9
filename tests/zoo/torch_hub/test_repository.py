"""Repositories at a path or an address, from the crawl to readable models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import SourceUnavailable
from peace_pipeline.zoo.torch_hub.linked import label_of
from tests.zoo.loopback import Fault, Loopback
from tests.zoo.torch_hub.repositories import GOOD, config, reasons, repository, zipped


@pytest.mark.parametrize(
    ("place", "label"),
    [
        ("/a/repo", "repo"),
        ("/a/repo-1.2", "repo-1.2"),
        ("repo.tar.gz", "repo"),
        ("repo-1.2-py3-none-any.whl", "repo"),
        ("https://host.test/owner/repo/archive/refs/heads/main.zip", "repo"),
        ("https://host.test/owner/repo/-/archive/v1/repo-v1.tar.gz", "repo"),
        ("https://host.test/owner/repo/zip/main", "repo"),
        ("https://host.test/files/repo.tgz?download=1", "repo"),
    ],
)
def test_names_of_repositories(place: str, label: str) -> None:
    assert label_of(place) == label


def test_a_place_that_is_not_there(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 is no path"):
        crawl_zoo(lake, ZooConfig(({"kind": "torch_hub", "repository": 3},), tmp_path))
    for place in (tmp_path / "nowhere", "no-package", "no_package"):
        with pytest.raises(ConfigError, match="no folder or archive"):
            crawl_zoo(lake, config(place))
    with pytest.raises(ConfigError, match="label"):
        crawl_zoo(lake, config(tmp_path, label="a/b"))
    (reason,) = reasons(crawl_zoo(lake, config(tmp_path))).values()
    assert reason == f"{tmp_path}: it holds no hubconf.py"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server; waits between attempts take no time."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with Loopback() as server:
        yield server


def test_from_an_archive_at_a_url_to_readable_models(
    lake: Lake, tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    torch.save({"0.weight": torch.randn(4, 3), "1.weight": torch.randn(3, 4)}, tmp_path / "net.pth")
    weights = (tmp_path / "net.pth").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()[:8]
    names = [f"good-{digest}.pth", "wrong-00000000.pth", "gone.pth", "broken.pth"]
    server.files |= {f"/w/{name}": weights for name in names[:2]}
    server.files["/w/broken.pth"] = b"no weights"
    entries = {name.partition("-")[0].partition(".")[0]: name for name in names}
    code = "\n".join(
        f"def {entry}():\n    load_url('{server.url}/w/{name}')" for entry, name in entries.items()
    )
    archive = "/owner/repo/archive/main.zip"
    server.files[archive] = zipped(tmp_path / "main.zip", {"repo-main/hubconf.py": code}).read_bytes()

    place = config(server.url + archive)
    summary = crawl_zoo(lake, place)
    assert summary.new == [f"torch_hub:repo/{entry}" for entry in ("good", "wrong", "gone", "broken")]
    assert {path for path, _ in server.answered} == {archive}, "a crawl downloads no weights"
    assert not crawl_zoo(lake, place).batches
    assert server.answered == [(archive, 200), (archive, 304)]

    (batch,) = summary.batches
    fetcher = Fetcher(place.build(lake))
    assert extract_batch(lake, batch, fetcher).models == 1
    skipped = {
        entry["model_id"].partition("/")[2]: entry["reason"] for entry in skipped_models_of(lake, batch)
    }
    assert "00000000" in skipped["wrong"]
    assert server.answered.count(("/w/wrong-00000000.pth", 200)) == 2
    assert "404" in skipped["gone"]
    assert "broken.pth" in skipped["broken"]
    assert layer_batch(lake, batch, fetcher).models == 1
    assert respond_batch(lake, batch, fetcher).skipped == 1
    assert server.answered.count((f"/w/good-{digest}.pth", 200)) == 1, (
        "later stages have the first one's copy"
    )
    assert not list((lake.root / "zoo" / "torch_hub" / "weights").rglob("good*"))
    again = crawl_zoo(lake, place)
    assert again.changed == ["torch_hub:repo/wrong"], "what failed for good is not tried again"
    assert not crawl_zoo(lake, place).batches

    server.files[archive] = zipped(tmp_path / "new.zip", {"repo-main/hubconf.py": GOOD}).read_bytes()
    summary = crawl_zoo(lake, place)
    assert (summary.changed, len(summary.deleted)) == (["torch_hub:repo/good"], 3)


def skipped_models_of(lake: Lake, batch: str) -> list[dict[str, str]]:
    """The models that extraction skipped."""
    import pyarrow.parquet as pq

    rows = pq.read_table(lake.inventory(batch), columns=["model_id", "status", "reason"]).to_pylist()
    return [row for row in rows if row["status"] == "skipped"]


def test_an_archive_that_cannot_be_had(lake: Lake, tmp_path: Path, server: Loopback) -> None:
    place = config(f"{server.url}/repo.zip")
    with pytest.raises(SourceUnavailable, match=r"source torch_hub: http.*/repo\.zip: 404 Not Found"):
        crawl_zoo(lake, place)
    server.files["/repo.zip"] = zipped(tmp_path / "repo.zip", {"hubconf.py": GOOD}).read_bytes()
    assert crawl_zoo(lake, place).new == ["torch_hub:repo/good"]
    for faults in ([Fault(500)] * 5, [Fault(404)], [Fault(body=b"0" * 99, cut=True)] * 5):
        server.faults["/repo.zip"] = faults
        with pytest.raises(SourceUnavailable):
            crawl_zoo(lake, place)
    assert Current(lake).records()["torch_hub:repo/good"].status == "new"
    server.faults["/repo.zip"] = [Fault(body=b"0" * 99, cut=True)]
    assert not crawl_zoo(lake, place).batches


def test_a_model_that_could_not_be_had_for_now_is_offered_again(
    lake: Lake, tmp_path: Path, server: Loopback
) -> None:
    torch.save({"0.weight": torch.ones(4, 3), "1.weight": torch.ones(3, 4)}, tmp_path / "net.pth")
    server.files["/net.pth"] = (tmp_path / "net.pth").read_bytes()
    server.faults["/net.pth"] = [Fault(503, headers={"Retry-After": "1"})] * 5
    code = f"def net():\n    load_url('{server.url}/net.pth')"
    place = config(repository(tmp_path / "repo", code))
    (batch,) = crawl_zoo(lake, place).batches
    assert extract_batch(lake, batch, Fetcher(place.build(lake))).skipped == 1
    (batch,) = crawl_zoo(lake, place).batches
    assert extract_batch(lake, batch, Fetcher(place.build(lake))).models == 1
