"""Weights read by byte ranges of a Hub's files: exact through faults, refused where the answer isn't the range."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tenacity
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.weights.formats.safetensors import SafetensorsFile
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.hub.politeness import HubUnavailable
from peace_pipeline.zoo.hub.ranges import RemoteBlob
from peace_pipeline.zoo.source import FetchError
from tests.standin_hub import StandinHub
from tests.standin_hub.faults import Fault, Faults
from tests.zoo.hub.hubs import config, crawl, files, hub, ingest

__all__ = ["hub"]
BUDGET = 40_000


def large(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = [64, 200, 200, 10]
    return {
        f"fc{i}.{kind}": torch.randn((out, into) if kind == "weight" else (out,), generator=generator)
        for i, (into, out) in enumerate(pairwise(widths))
        for kind in ("weight", "bias")
    }


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken downloads are tried again without a wait."""
    monkeypatch.setattr(RemoteBlob._read.retry, "wait", tenacity.wait_none())  # type: ignore[attr-defined]


@pytest.fixture
def blob(hub: StandinHub) -> RemoteBlob:
    """The weights of a model that is pushed to the Hub, read by ranges."""
    commit = hub.push("org/large", files(**{"model.safetensors": save(large())}))
    url = f"{hub.endpoint}/org/large/resolve/{commit}/model.safetensors"
    return RemoteBlob("model.safetensors", url, len(save(large())), {})


def served(hub: StandinHub) -> list[tuple[str, int, int]]:
    return [(seen.method, seen.status, seen.size) for seen in hub.requests if "safetensors" in seen.path]


def test_tensor_by_tensor_and_nothing_else(hub: StandinHub, blob: RemoteBlob) -> None:
    file = SafetensorsFile(blob)
    assert torch.equal(file.read("fc1.weight"), large()["fc1.weight"])
    assert torch.equal(file.read("fc1.weight", (3, 7)), large()["fc1.weight"][3:7])
    assert [request[:2] for request in served(hub)] == [("GET", 206)] * 3, (
        "a part of the last range is at hand"
    )
    assert sum(size for *_, size in served(hub)) == file.header_size + 200 * 200 * 4


@pytest.mark.parametrize("kind", ["429", "504", "cut", "slow"])
def test_faults_on_the_way_change_nothing(kind: str, hub: StandinHub, blob: RemoteBlob) -> None:
    hub.script("safetensors", [Fault(kind), Fault(kind, sent=0), Fault(kind)])
    file = SafetensorsFile(blob)
    assert all(torch.equal(file.read(name), value) for name, value in large().items())


def test_a_hub_that_never_answers(hub: StandinHub, blob: RemoteBlob) -> None:
    hub.script("safetensors", [Fault("504")] * politeness.ATTEMPTS)
    with pytest.raises(HubUnavailable, match="504"):
        blob.read(0, 8)


def test_a_file_that_is_gone(hub: StandinHub, blob: RemoteBlob) -> None:
    hub.delete("org/large")
    with pytest.raises(FetchError, match="answered 401"):
        blob.read(0, 8)


@pytest.mark.parametrize(
    ("status", "content_range", "sent", "reason"),
    [
        (200, None, 8, "answered 200"),
        (206, None, 8, "got none"),
        (206, "bytes 0-7/99", 8, "got bytes 0-7/99"),
        (206, "bytes 1-8/100", 8, "got bytes 1-8/100"),
        (206, "bytes 0-7/*", 8, "got bytes"),
        (206, "bytes 0-7/" + "9" * 5000, 8, "got bytes 0-7/999"),
        (206, "bytes 0-7/100", 9, "more than was asked"),
    ],
)
def test_answers_that_are_not_the_range(
    status: int, content_range: str | None, sent: int, reason: str, hub: StandinHub
) -> None:
    with answering(status, content_range, b"x" * sent) as url, pytest.raises(FetchError, match=reason):
        RemoteBlob("m", url, 100, {}).read(0, 8)


def test_an_answer_that_stays_short(hub: StandinHub) -> None:
    with (
        answering(206, "bytes 0-7/100", b"x" * 5) as url,
        pytest.raises(FetchError, match="5 of 8"),
    ):
        RemoteBlob("m", url, 100, {}).read(0, 8)


@contextmanager
def answering(status: int, content_range: str | None, body: bytes) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if content_range:
                self.send_header("Content-Range", content_range)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/m"
        server.shutdown()


@pytest.mark.parametrize("faults", [None, Faults(3, 0.2, ("429", "504", "cut", "slow"), 0.01)])
def test_a_lake_that_reads_a_part_of_each_model(faults: Faults | None, lake: Lake, hub: StandinHub) -> None:
    hub.push("org/large", files(**{"model.safetensors": save(large())}))
    hub.faults = faults
    assert ingest(lake, hub, bytes_budget=BUDGET) == []
    (batch,) = lake.batches()
    wirings = {row["model_id"]: row for row in pq.read_table(lake.wirings(batch)).to_pylist()}
    assert {name for name, row in wirings.items() if row["sampled"]} == {"org/large"}
    assert wirings["org/large"]["parameters"] == sum(value.numel() for value in large().values())
    rows = pq.read_table(lake.layers(batch)).to_pylist()
    layers = [row for row in rows if row["model_id"] == "org/large" and row["parameter"] == "weight"]
    assert [row["sampled"] for row in layers] == [True, True, True]
    assert all(np.prod(row["shape"]) == len(row["values"]) for row in layers)
    assert layers[1]["shape"][1] == layers[0]["shape"][0] < 200
    known = {value for value in large()["fc1.weight"].flatten().tolist()}
    assert set(layers[1]["values"]) <= known
    inventory = {row["model_id"]: row for row in pq.read_table(lake.inventory(batch)).to_pylist()}
    assert inventory["org/large"]["content"] is None
    assert inventory["org/m0"]["content"]
    if faults is None:
        reads = sum(
            seen.size for seen in hub.requests if "/org/large/" in seen.path and "safetens" in seen.path
        )
        assert BUDGET - 2000 < reads <= BUDGET, "each part is read once for both stages"


def test_a_budget_that_is_too_small_skips_the_model(lake: Lake, hub: StandinHub) -> None:
    assert ["a header of" in row["reason"] for row in ingest(lake, hub, bytes_budget=100)] == [True] * 3
    hub.push("org/m3", files(3))
    (skipped,) = ingest(lake, hub, bytes_budget=170)
    assert "one row of every tensor takes 32 bytes" in skipped["reason"]


def test_the_budget_of_any_source_of_a_hub_holds(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/large", files(**{"model.safetensors": save(large())}))
    both = ZooConfig(
        (config(hub, author="org").sources[0], config(hub, bytes_budget=BUDGET).sources[0]), Path("/")
    )
    (batch,) = crawl_zoo(lake, both).batches
    fetcher = Fetcher(both.build(lake))
    extract_batch(lake, batch, fetcher)
    assert layer_batch(lake, batch, fetcher).skipped == 0
    rows = pq.read_table(lake.wirings(batch), columns=["model_id", "sampled"]).to_pylist()
    assert {row["model_id"] for row in rows if row["sampled"]} == {"org/large"}


def test_copies_of_a_part_are_given_up(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/large", files(**{"model.safetensors": save(large())}))
    crawl(lake, hub, bytes_budget=BUDGET)
    ingest(lake, hub, bytes_budget=BUDGET)
    assert list(Path(lake.root).rglob("*.safetensors")) == []
