"""The token is sent to the Hub and to nobody else, and is written nowhere."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from peace_pipeline.definitions import Pass, defs
from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness, rate
from peace_pipeline.zoo.source import FetchError, SourceUnavailable
from tests.pipeline import Workplace
from tests.standin_hub import Fault, StandinHub

TOKEN = "hf_VerySecretTokenOfATest"
FILES = {"model.safetensors": save({"0.weight": torch.ones(3, 4)}), "config.json": b"{}", "README.md": b"# A"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """A Hub whose models only the bearer of the token can have; retries follow at once."""
    monkeypatch.setenv("SOME_TOKEN", TOKEN)
    monkeypatch.setattr(politeness, "_wait", lambda state: 0.001)
    monkeypatch.setattr(rate.RateLimit, "pause", lambda limit, seconds: None)
    with StandinHub(tmp_path / "hub") as hub:
        hub.push("org/a", FILES, gated="auto")
        hub.push("org/b", FILES, gated="manual")
        hub.push("org/c", FILES, gated="manual")
        hub.tokens = {TOKEN: {"org/a", "org/b"}}
        yield hub


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that is logged."""
    caplog.set_level(logging.DEBUG)
    for name in ("huggingface_hub", "peace_pipeline", "httpx2", "httpcore2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def toml(hub: StandinHub) -> str:
    return f"""[[source]]
kind = "huggingface"
endpoint = "{hub.endpoint}"
token_env = "SOME_TOKEN"
requests_per_5_minutes = 1000000
"""


def config_of(hub: StandinHub, folder: Path) -> ZooConfig:
    (folder / "peace.toml").write_text(toml(hub))
    return ZooConfig.load(folder / "peace.toml")


def assert_unsaid(*said: object) -> None:
    for text in said:
        assert TOKEN not in str(text) + repr(text)


def assert_unwritten(root: Path) -> int:
    """No file under ``root`` holds the token; returns how many were read."""
    files = [path for path in root.rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    return len(files)


def assert_unraised(error: BaseException) -> None:
    lines = traceback.TracebackException.from_exception(error).format(chain=True)
    assert_unsaid(error, error.args, error.__cause__, error.__context__, *lines)


def test_a_crawl_by_a_token_writes_it_nowhere(
    lake: Lake, hub: StandinHub, tmp_path: Path, logged: pytest.LogCaptureFixture, capfd: Any
) -> None:
    config = config_of(hub, tmp_path)
    hub.script("org/a", [Fault("429", 0), Fault("504"), Fault("cut", sent=0)])
    summary = crawl_zoo(lake, config)
    records = Current(lake).records()
    assert {name: record.status for name, record in records.items()} == {
        "org/a": "new",
        "org/b": "new",
        "org/c": "skipped",
    }
    (source,) = config.build(lake)
    folder = source.fetch(records["org/a"])
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert_unsaid(summary, records, source, vars(source), config, *capfd.readouterr())
    assert "org/a" in logged.text, "the requests are in the log"
    assert_unsaid(logged.text, *logged.records)
    assert assert_unwritten(lake.root) > 5


FAULTS = [Fault("429", 0), Fault("504"), Fault("cut", sent=0)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_no_error_says_the_token(
    fault: Fault, lake: Lake, hub: StandinHub, tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    config = config_of(hub, tmp_path)
    crawl_zoo(lake, config)
    record = Current(lake).records()["org/a"]
    hub.script("", [fault] * 3 * politeness.ATTEMPTS)
    with pytest.raises(SourceUnavailable) as unavailable:
        crawl_zoo(lake, config)
    with pytest.raises(FetchError) as failed:
        Fetcher(config.build(lake)).fetch(record, fetch_sampled)
    for raised in (unavailable, failed):
        assert_unraised(raised.value)
    assert_unsaid(logged.text)


def test_no_refusal_says_the_token(lake: Lake, hub: StandinHub, tmp_path: Path) -> None:
    config = config_of(hub, tmp_path)
    crawl_zoo(lake, config)
    record = Current(lake).records()["org/a"]
    hub.tokens = {}
    with pytest.raises(FetchError) as failed:
        Fetcher(config.build(lake)).fetch(record, fetch_sampled)
    assert_unraised(failed.value)
    (tmp_path / "peace.toml").write_text(toml(hub).replace(hub.endpoint, f"{hub.endpoint}/nowhere"))
    with pytest.raises(SourceUnavailable) as refused:
        crawl_zoo(lake, ZooConfig.load(tmp_path / "peace.toml"))
    assert_unraised(refused.value)
    assert assert_unwritten(lake.root) > 5


def test_runs_and_json_don_t_say_the_token(
    hub: StandinHub, tmp_path: Path, logged: pytest.LogCaptureFixture, capfd: Any
) -> None:
    place = Workplace(tmp_path)
    (tmp_path / "peace.toml").write_text(toml(hub))
    answer = place.peace("run", "--json")
    assert answer.json["new"] == 3
    assert_unsaid(answer)
    hub.touch("org/a")
    hub.script("", [Fault("504")] * 50)
    with pytest.raises(Exception, match="504"):
        Pass(defs, place.lake, str(tmp_path / "peace.toml")).run()
    failed = place.peace("run", "--json", code=1)
    assert "504" in failed.err + failed.out
    assert_unsaid(failed, logged.text, *capfd.readouterr())
    assert list(place.lake.dagster.rglob("*.db"))
    assert assert_unwritten(tmp_path / "home") > 20
