"""Whatever fails and wherever the process dies: every model once, at its newest revision."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import lancedb
import pytest
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.outcome import skipped_models
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.listing import listings
from tests.standin_hub import Fault, StandinHub
from tests.sweep import swept
from tests.zoo.hub.faults import Run, truth

FILES = {
    "model.safetensors": save({"0.weight": torch.ones(3, 4), "1.weight": torch.ones(2, 3)}),
    "config.json": b"{}",
}


@pytest.mark.parametrize("seed", swept(range(6), always=(0, 4)))
def test_killed_anywhere_while_requests_fail_and_the_hub_changes(seed: int, tmp_path: Path) -> None:
    outcome = Run(tmp_path, seed, models=10).run()
    assert not outcome.violations, outcome
    assert outcome.faults.total() + outcome.kills.total() > 0
    assert outcome.indexed > 0


def test_the_reckoning_tells_what_is_wrong(tmp_path: Path) -> None:
    run = Run(tmp_path, 0, models=12, rate=0)
    assert not run.run().violations
    first, second, third = sorted(run.held.models)[:3]
    table = lancedb.connect(str(run.lake.index)).open_table("models")
    table.delete(f"model_id = '{first}'")
    table.add(table.search().where(f"model_id = '{second}'").limit(1).to_arrow())
    (run.lake.root / "zoo" / "half.json").write_text("{")
    repos = run.hub.repos | {"org/unseen": run.hub.repos[third]}
    del repos[third]
    found = truth.Violations()
    now = truth.holdings(run.lake, found)
    truth.compare_with_before(run.held, now, found)
    truth.compare_with_hub(run.lake, now, repos, set(), found)
    assert f"{first} is no longer in the index" in found.lost
    assert f"{first}: the index has None and not {repos[first].head.sha}" in found.lost
    assert "org/unseen has no record" in found.lost
    assert found.doubled == [f"{second} is in the index 2 times"]
    assert found.stale == [f"{third} is deleted at the Hub"]
    assert len(found.broken) == 1


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """A Hub of two models; retries follow at once."""
    monkeypatch.setattr(politeness, "_wait", lambda state: 0.001)
    with StandinHub(tmp_path / "hub") as hub:
        hub.push("org/a", FILES)
        hub.push("org/b", FILES)
        yield hub


def config_of(hub: StandinHub) -> ZooConfig:
    source = {"kind": "huggingface", "endpoint": hub.endpoint, "requests_per_5_minutes": 10**6}
    return ZooConfig(({**source, "token_env": "PEACE_NO_TOKEN"},), Path())


def crawl(lake: Lake, hub: StandinHub) -> list[str]:
    return crawl_zoo(lake, config_of(hub)).batches


def extract(lake: Lake, hub: StandinHub, batch: str) -> None:
    extract_batch(lake, batch, Fetcher(config_of(hub).build(lake)))


def layer(lake: Lake, hub: StandinHub, batch: str) -> None:
    layer_batch(lake, batch, Fetcher(config_of(hub).build(lake)))


def taken(lake: Lake) -> list[str]:
    return [network.model_id for network in listings(lake)]


def test_gated_between_crawls_alone(lake: Lake, hub: StandinHub) -> None:
    """A model that could not be had when it was fetched, though each crawl finds it open."""
    (batch,) = crawl(lake, hub)
    hub.set("org/a", gated="manual")
    extract(lake, hub, batch)
    layer(lake, hub, batch)
    assert skipped_models(lake, batch)[0]["model_id"] == "org/a"
    hub.set("org/a", gated=False)
    (again,) = crawl(lake, hub)
    extract(lake, hub, again)
    layer(lake, hub, again)
    assert taken(lake) == ["org/a", "org/b"]
    assert not crawl(lake, hub)


def test_the_second_download_fails_in_passing(lake: Lake, hub: StandinHub) -> None:
    (batch,) = crawl(lake, hub)
    extract(lake, hub, batch)
    shutil.rmtree(lake.root / "zoo" / "huggingface" / "cache")
    hub.script("org/a/resolve", [Fault("504")] * politeness.ATTEMPTS)
    layer(lake, hub, batch)
    assert taken(lake) == ["org/b"]
    (again,) = crawl(lake, hub)
    extract(lake, hub, again)
    layer(lake, hub, again)
    assert taken(lake) == ["org/a", "org/b"]
    assert not crawl(lake, hub)


def test_hidden_between_a_wrong_download_and_the_next(lake: Lake, hub: StandinHub) -> None:
    (batch,) = crawl(lake, hub)
    hub.script("org/a/resolve", [Fault("slow", 0), Fault("wrong_bytes")])

    def hide(method: str, path: str) -> None:
        if method == "HEAD" and "org/a" in path and hub.count("GET"):
            hub.set("org/a", private=True)

    hub.forget()
    hub.on_request = hide
    extract(lake, hub, batch)
    layer(lake, hub, batch)
    assert taken(lake) == ["org/b"]
    hub.on_request = None
    hub.set("org/a", private=False)
    (again,) = crawl(lake, hub)
    extract(lake, hub, again)
    layer(lake, hub, again)
    assert taken(lake) == ["org/a", "org/b"]


def test_disabled_when_it_is_fetched(lake: Lake, hub: StandinHub) -> None:
    (batch,) = crawl(lake, hub)
    hub.set("org/a", disabled=True)
    extract(lake, hub, batch)
    layer(lake, hub, batch)
    (skipped,) = skipped_models(lake, batch)
    assert skipped == {"model_id": "org/a", "reason": "model.safetensors: disabled by the Hub"}
