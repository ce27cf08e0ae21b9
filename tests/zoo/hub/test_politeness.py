"""Requests that fail are made again, within bounds, and never faster than was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import get_session
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness, rate
from peace_pipeline.zoo.hub.pages import ModelPages
from peace_pipeline.zoo.hub.politeness import ATTEMPTS, RETRIED, HubUnavailable, httpx
from peace_pipeline.zoo.hub.repository import Hub
from peace_pipeline.zoo.record import ModelFile, ModelRecord
from peace_pipeline.zoo.source import FetchError, SourceUnavailable
from tests.standin_hub import Fault, StandinHub

FILES = {
    "model.safetensors": save({"0.weight": torch.ones(3, 4)}),
    "config.json": b"{}",
    "README.md": b"# A model",
}
FAILURES = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("timed out"),
    httpx.RemoteProtocolError("peer closed connection"),
]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StandinHub]:
    """A Hub of one model."""
    with StandinHub(tmp_path / "hub") as hub:
        hub.push("org/a", FILES)
        yield hub


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits that would come between attempts, none of which is waited for."""
    asked: list[float] = []
    real = politeness._wait

    def wait(state: Any) -> float:
        asked.append(real(state))
        return 0.0

    monkeypatch.setattr(politeness, "_wait", wait)
    monkeypatch.setattr(rate.RateLimit, "pause", lambda limit, seconds: asked.append(seconds))
    return asked


def config_of(hub: StandinHub, **options: Any) -> ZooConfig:
    source = {"kind": "huggingface", "endpoint": hub.endpoint, "requests_per_5_minutes": 10**6}
    return ZooConfig(({**source, "token_env": "PEACE_NO_TOKEN", **options},), Path())


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    return politeness._PoliteClient(transport=httpx.MockTransport(answer))


@pytest.mark.parametrize("failure", [*sorted(RETRIED), *FAILURES], ids=repr)
@pytest.mark.parametrize("failures", [1, ATTEMPTS - 1, ATTEMPTS])
def test_passing_failures_are_tried_again_within_bounds(
    failure: int | Exception, failures: int, waits: list[float]
) -> None:
    made: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        made.append(request)
        if len(made) > failures:
            return httpx.Response(200)
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure)

    client = client_of(answer)
    if failures < ATTEMPTS:
        assert client.get("http://hub/api/models").status_code == 200
        assert len(made) == failures + 1
    else:
        with pytest.raises(HubUnavailable) as raised:
            client.get("http://hub/api/models?cursor=where", headers={"Authorization": "Bearer hf_secret"})
        assert len(made) == ATTEMPTS
        assert raised.value.status == (failure if isinstance(failure, int) else None)
        assert str(raised.value).startswith("http://hub/api/models: ")
        assert not [word for word in ("?", "where", "hf_secret") if word in str(raised.value)]
    assert all(2**number / 2 <= wait <= 2**number / 2 + 0.5 for number, wait in enumerate(waits))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 416])
def test_refusals_are_not_tried_again(status: int, waits: list[float]) -> None:
    answers = [httpx.Response(status)]
    assert client_of(lambda request: answers.pop()).get("http://hub/api/models").status_code == status
    assert not waits


@pytest.mark.parametrize(
    ("status", "headers", "least"),
    [
        (429, {"RateLimit": '"api";r=0;t=120', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 121),
        (429, {"Retry-After": "90"}, 90),
        (503, {"Retry-After": "90"}, 90),
        (429, {"Retry-After": "soon"}, 0),
        (503, {}, 0),
    ],
)
def test_a_wait_that_is_asked_for_is_kept(
    status: int, headers: dict[str, str], least: float, waits: list[float]
) -> None:
    answers = [httpx.Response(200), httpx.Response(status, headers=headers)]
    assert client_of(lambda request: answers.pop()).get("http://hub/x").status_code == 200
    assert least <= waits[-1] < least + 2


@pytest.mark.parametrize("fault", [Fault("429", 0), Fault("504"), Fault("cut", sent=0)], ids=lambda f: f.kind)
def test_every_kind_of_request_survives_five_failures(
    fault: Fault, lake: Lake, hub: StandinHub, waits: list[float]
) -> None:
    """Pages, metadata (HEAD), cards, model infos and downloads alike."""
    for path in ("sort=lastModified", "sort=createdAt", "model.safetensors", "README.md"):
        hub.script(path, [fault] * (ATTEMPTS - 1))
    (batch,) = crawl_zoo(lake, config_of(hub)).batches
    assert Current(lake).records()["org/a"].card == "# A model"
    hub.script("model.safetensors", [Fault("slow", 0), *[fault] * (ATTEMPTS - 1)])
    assert extract_batch(lake, batch, Fetcher(config_of(hub).build(lake))).models == 1
    hub.script("/api/models/org/a", [fault] * (ATTEMPTS - 1))
    info = Hub(lake, hub.endpoint, None, 10**6).model("org/a")
    assert info is not None
    assert info.sha == hub.repos["org/a"].head.sha


@pytest.mark.parametrize("fault", [Fault("429", 0), Fault("504"), Fault("cut", sent=0)], ids=lambda f: f.kind)
def test_every_kind_of_request_gives_up_after_six(
    fault: Fault, lake: Lake, hub: StandinHub, waits: list[float]
) -> None:
    client = Hub(lake, hub.endpoint, None, 10**6)
    listing = ModelPages(client.endpoint, None, {})
    record = ModelRecord(
        "huggingface",
        "org/a",
        hub.repos["org/a"].head.sha,
        "",
        files=(ModelFile("config.json", None, None, "text"),),
    )
    requests: list[tuple[type[Exception], Callable[[], object]]] = [
        (HubUnavailable, lambda: client.model("org/a")),
        (HubUnavailable, lambda: list(listing.following(listing.first("createdAt", ["sha"], 3)))),
        (FetchError, lambda: client.fetch(record)),
        (SourceUnavailable, lambda: crawl_zoo(lake, config_of(hub))),
    ]
    for kind, request in requests:
        hub.forget()
        parts = 2 if kind is SourceUnavailable and fault.kind == "504" else 1  # the sweep after the walk
        hub.script("", [fault] * ATTEMPTS * parts)
        with pytest.raises(kind) as raised:
            request()
        assert hub.count() == ATTEMPTS * parts
        assert "?" not in str(raised.value)


def test_a_download_that_always_breaks_off_ends(
    lake: Lake, hub: StandinHub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = crawl_zoo(lake, config_of(hub)).batches
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.script("model.safetensors", [Fault("cut", sent=0.1)] * 1000)
    assert extract_batch(lake, batch, Fetcher(config_of(hub).build(lake))).skipped == 1
    assert hub.count() < 100


def test_nobody_asks_before_the_time_that_a_429_names(lake: Lake, hub: StandinHub) -> None:
    """Not the one that was refused, and none of those beside it."""
    for number in range(30):
        hub.push(f"org/m{number}", FILES)
    hub.script("m20/resolve", [Fault("429", 1)])
    crawl_zoo(lake, config_of(hub, parallel=4))
    (refused,) = (seen for seen in hub.requests if seen.status == 429)
    after = [seen.time - refused.time for seen in hub.requests if seen.time > refused.time]
    until_it_is_read = 0.5  # on a busy machine the answer is not read at once
    assert len(after) > 20
    assert not [seconds for seconds in after if until_it_is_read < seconds < 1]
    assert sum(seconds >= 1 for seconds in after) > 10
    assert max(after) < 10


def test_a_crawl_stays_below_the_rate_of_its_endpoint(
    lake: Lake, hub: StandinHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server refuses what is over its limit: a crawl that keeps to a lower one never sees that."""
    window = 1.0
    below = rate.RateLimit(tmp_path / "rate", 20, window)
    politeness.limit(hub.endpoint, politeness.Limits(below, below))
    for number in range(25):
        hub.push(f"org/m{number}", FILES)
    hub.limit = (24, window)
    crawl_zoo(lake, config_of(hub))
    assert hub.count() > 48
    assert not [seen for seen in hub.requests if seen.status == 429]
    (batch,) = lake.batches()
    assert len(read_records(lake, batch)) == 26
    hub.limit = (24, 60)
    monkeypatch.setattr(politeness, "_wait", lambda state: 0.01)
    monkeypatch.setattr(rate.RateLimit, "wait", lambda limit: None)
    monkeypatch.setattr(rate.RateLimit, "pause", lambda limit, seconds: None)
    with pytest.raises(HubUnavailable, match="429"):
        [get_session().get(f"{hub.endpoint}/api/models") for _ in range(30)]
