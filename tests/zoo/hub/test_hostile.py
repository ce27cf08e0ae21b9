"""The Hugging Face source before a Hub that lies, wanders, or answers nonsense."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.card import MAX_TEXT_BYTES
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.source import SourceUnavailable
from tests.standin_hub import Fault, StandinHub
from tests.standin_hub.answers import Answer
from tests.zoo.hub.hubs import LONG_AGO, config, crawl, files, hub, ingest, reasons

__all__ = ["hub"]


def answering(hub: StandinHub, fragment: str, answer: Callable[[Any], Answer]) -> None:
    """Let the Hub answer requests whose path contains ``fragment`` otherwise, given its own answer."""
    real = hub.answer

    def instead(request: Any, fault: Any) -> Answer:
        own = real(request, fault)
        return answer(own) if fragment in request.path else own

    hub.answer = instead  # type: ignore[method-assign]


def states(lake: Lake) -> dict[str, str]:
    return {model_id: record.status for model_id, record in Current(lake).records().items()}


def test_a_sha_that_is_a_path_removes_nothing(lake: Lake, hub: StandinHub, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    hub.push("org/evil", files(5), gated="auto", sha=str(victim))
    hub.push("org/up", files(5), gated="auto", sha="../../../../victim")
    ingest(lake, hub)
    assert victim.exists()
    assert set(Current(lake).records()) == {"org/m0", "org/m1", "org/m2"}


@pytest.mark.parametrize("model_id", ["directory:zoo/a", "../../x", "org/na me", "org/\ud800", "", 3, None])
def test_ids_that_the_hub_does_not_give_are_no_models(model_id: Any, lake: Lake, hub: StandinHub) -> None:
    hub.push("org/odd", files(5), id=model_id)
    crawl(lake, hub)
    assert set(Current(lake).records()) == {"org/m0", "org/m1", "org/m2"}


@pytest.mark.parametrize(
    "settings",
    [
        {"siblings": [{"rfilename": None}, {"rfilename": "\ud800.bin"}, 3]},
        {"siblings": 3},
        {"config": {"model_type": ["x"]}},
        {"tags": "x"},
    ],
)
def test_malformed_fields_stop_no_crawl(settings: dict[str, Any], lake: Lake, hub: StandinHub) -> None:
    hub.push("org/odd", files(5), **settings)
    assert "org/odd" in crawl(lake, hub).new


def test_a_model_without_a_commit_is_skipped(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/odd", files(5), sha=None)
    assert reasons(crawl(lake, hub)) == {"org/odd": "the Hub names no commit"}
    assert not crawl(lake, hub).batches


def test_a_size_beyond_reason_is_none(lake: Lake, hub: StandinHub) -> None:
    answering(
        hub, "m1/resolve", lambda own: Answer(own.status, own.headers | {"X-Linked-Size": "9" * 30}, own.body)
    )
    assert len(crawl(lake, hub).new) == 3


@pytest.mark.parametrize("ending", ["\n", " \r\n"])
def test_a_token_with_a_newline_works(
    ending: str, lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push("org/gated", files(5), gated="auto")
    hub.tokens = {"hf_secret": {"org/gated"}}
    monkeypatch.setenv("HF_TOKEN", f"hf_secret{ending}")
    assert not crawl(lake, hub).skipped


def test_a_token_that_is_none_is_not_repeated(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_one\nhf_two")
    with caplog.at_level("DEBUG"), pytest.raises(ConfigError, match="token") as error:
        crawl(lake, hub)
    assert "hf_one" not in str(error.value) + caplog.text


def test_downloads_stay_with_the_polite_client(lake: Lake, hub: StandinHub) -> None:
    answering(
        hub, "resolve", lambda own: Answer(own.status, own.headers | {"X-Xet-Hash": "a" * 64}, own.body)
    )
    assert not ingest(lake, hub)
    assert not [seen for seen in hub.requests if "xet" in seen.path]


def test_a_renamed_model_is_there_once(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    hub.delete("org/m0")
    hub.push("org/renamed", files(0), at=LONG_AGO)
    moved = {"Location": "/api/models/org/renamed"}
    answering(hub, "/api/models/org/m0", lambda own: Answer(307, moved, b""))
    crawl(lake, hub)
    assert (states(lake)["org/m0"], states(lake)["org/renamed"]) == ("deleted", "new")
    assert not crawl(lake, hub).batches


def test_models_that_are_deleted_after_the_filters_changed(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub, author="org")
    crawl(lake, hub, author="org", max_parameters=10**8)
    hub.delete("org/m0")
    assert crawl(lake, hub, author="org", max_parameters=10**8).deleted == ["org/m0"]


def test_models_that_no_longer_fit_leave(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub, task="image-classification")
    hub.set("org/m0", pipeline_tag="text-generation")
    assert crawl(lake, hub, task="image-classification").deleted == ["org/m0"]
    assert not crawl(lake, hub, task="image-classification").batches


def test_two_hubs_do_not_speak_for_each_other(lake: Lake, hub: StandinHub, tmp_path: Path) -> None:
    with StandinHub(tmp_path / "other") as other:
        other.push("org/b", files(7))
        both = ZooConfig((*config(hub).sources, *config(other).sources), tmp_path)
        hub.script("sort=createdAt", [Fault("504")] * politeness.ATTEMPTS)
        with pytest.raises(SourceUnavailable, match="504"):
            crawl_zoo(lake, both)
        assert set(states(lake).values()) == {"new"}
        assert len(states(lake)) == 4
        assert not crawl_zoo(lake, both).batches


def test_two_tokens_on_one_hub(lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_A", "hf_a")
    monkeypatch.setenv("TOKEN_B", "hf_b")
    hub.push("a/x", files(8), gated="auto")
    hub.push("b/y", files(9), gated="auto")
    hub.tokens = {"hf_a": {"a/x"}, "hf_b": {"b/y"}}
    sources = [
        table
        for letter in "ab"
        for table in config(hub, author=letter, token_env=f"TOKEN_{letter.upper()}").sources
    ]
    both = ZooConfig(tuple(sources), Path("/"))
    (batch,) = crawl_zoo(lake, both).batches
    assert extract_batch(lake, batch, Fetcher(both.build(lake))).skipped == 0
    assert not crawl_zoo(lake, both).batches


NONSENSE = {
    "gzip that is none": Answer(200, {"Content-Encoding": "gzip"}, b"junk"),
    "a circle": Answer(302, {"Location": "/org/m1/resolve/circle/README.md"}, b""),
    "a bomb": Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(8 * MAX_TEXT_BYTES))),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_card_that_makes_no_sense_costs_the_card_alone(kind: str, lake: Lake, hub: StandinHub) -> None:
    answering(hub, "/org/m1/resolve", lambda own: own)
    real = hub.answer
    hub.answer = lambda request, fault: (  # type: ignore[method-assign]
        NONSENSE[kind]
        if "/org/m1/resolve" in request.path and "README" in request.path
        else real(request, fault)
    )
    summary = crawl(lake, hub)
    assert (len(summary.new), summary.skipped) == (3, [])
    assert Current(lake).records()["org/m1"].card is None


@pytest.mark.parametrize("body", [b"<html>", b"[" * 10**5, b"3"])
def test_an_answer_that_is_no_listing(body: bytes, lake: Lake, hub: StandinHub) -> None:
    answering(hub, "/api/models", lambda own: Answer(200, {}, body))
    with pytest.raises(SourceUnavailable, match="no list of models"):
        crawl(lake, hub)


@pytest.mark.parametrize("fault", [Fault("504"), None])
def test_a_model_that_the_hub_cannot_describe_stops_no_sweep(
    fault: Fault | None, lake: Lake, hub: StandinHub
) -> None:
    crawl(lake, hub)
    hub.delete("org/m0")
    hub.delete("org/m1")
    if fault:
        hub.script("/api/models/org/m0", [fault] * politeness.ATTEMPTS)
    else:
        answering(hub, "/api/models/org/m0", lambda own: Answer(200, {}, b"<html>"))
    assert crawl(lake, hub).deleted == ["org/m1"]


def test_a_next_page_elsewhere_is_not_followed(lake: Lake, hub: StandinHub) -> None:
    elsewhere = {"Link": '<http://127.0.0.1:9/api/models>; rel="next"'}
    answering(hub, "sort=lastModified", lambda own: Answer(own.status, own.headers | elsewhere, own.body))
    with pytest.raises(SourceUnavailable, match=r"said to be at 127\.0\.0\.1:9"):
        crawl(lake, hub)
    assert len(Current(lake).records()) == 3


def test_a_config_without_bound_is_not_downloaded(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/odd", files(5) | {"config.json": bytes(MAX_TEXT_BYTES + 1)})
    hub.forget()
    assert [row["model_id"] for row in ingest(lake, hub)] == ["org/odd"]
    assert not [
        seen
        for seen in hub.requests
        if "odd" in seen.path and seen.path.endswith("config.json") and seen.method == "GET"
    ]


def test_limits_hold_however_the_host_is_written(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(politeness.RateLimit, "wait", lambda self: waited.append(1))
    crawl(lake, hub, endpoint=hub.endpoint.replace("127.0.0.1", "LOCALHOST"))
    assert len(waited) == hub.count() > 0


def test_the_strictest_limit_of_an_endpoint_holds(lake: Lake, hub: StandinHub) -> None:
    strict, loose = (config(hub, requests_per_5_minutes=rate).build(lake)[0] for rate in (200, 10**6))
    host = hub.endpoint.removeprefix("http://")
    for source in (strict, loose):
        source.hub  # type: ignore[attr-defined]  # noqa: B018
        assert politeness._limits[host].api.refill < 1


def test_a_gate_of_another_kind_is_no_change(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.tokens = {"hf_secret": {"org/m0"}}
    hub.set("org/m0", gated="auto")
    crawl(lake, hub)
    hub.set("org/m0", gated="manual")
    assert not crawl(lake, hub).batches


def test_a_kill_before_the_batch_is_done_leaves_no_downloads_for_ever(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawl(lake, hub)
    (batch,) = lake.batches()
    fetcher = Fetcher(config(hub).build(lake))
    extract_batch(lake, batch, fetcher)
    layer_batch(lake, batch, fetcher)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetcher, "release", killed)
        with pytest.raises(KeyboardInterrupt):
            respond_batch(lake, batch, fetcher)
    assert not lake.responses(batch).exists()
    respond_batch(lake, batch, fetcher)
    assert not list((lake.root / "zoo" / "huggingface" / "cache").rglob("*.safetensors"))


def test_offline_mode_keeps_no_other_source_from_being_crawled(
    lake: Lake, hub: StandinHub, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    both = ZooConfig((*config(hub).sources, {"kind": "directory", "path": str(zoo)}), zoo)
    with pytest.raises(SourceUnavailable, match="offline"):
        crawl_zoo(lake, both)
