"""The Hugging Face source, by the real client against the stand-in Hub."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.weights.formats.registry import READERS
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness, walk
from peace_pipeline.zoo.hub.cursor import Cursor
from peace_pipeline.zoo.hub.source import FORMATS, HuggingfaceSource
from peace_pipeline.zoo.source import SourceUnavailable
from tests.lakes import card_of
from tests.standin_hub import Fault, StandinHub
from tests.zoo.hub.hubs import CONFIG, LONG_AGO, config, crawl, files, hub, ingest, reasons, weights

__all__ = ["hub"]


def test_a_record_says_what_the_hub_and_the_card_say(lake: Lake, hub: StandinHub) -> None:
    sha = hub.push("org/full", files(7), at=LONG_AGO, license="mit")
    crawl(lake, hub)
    record = Current(lake).records()["org/full"]
    assert (record.source, record.revision) == ("huggingface", sha)
    assert record.uri == f"{hub.endpoint}/org/full/tree/{sha}"
    assert (record.architecture, record.task) == ("mlp", "image-classification")
    assert (record.datasets, record.metrics) == (("cats",), {"accuracy": 0.9})
    assert record.hyperparameters["run"] == "r-0"
    assert record.parameters == 32
    assert record.created_at == record.last_modified == LONG_AGO
    assert record.card == card_of("cats")
    size = len(weights(7))
    weight, text = record.files
    assert (weight.path, weight.size, weight.format) == ("model.safetensors", size, "safetensors")
    assert len(weight.sha256 or "") == 64
    assert (text.path, text.sha256) == ("config.json", None)


def test_all_that_is_read_is_taken() -> None:
    assert {*FORMATS} == {*READERS}


def test_a_tokenizer_comes_along(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/text", files(7) | {"tokenizer.json": b"{}"})
    hub.push("org/other", files(8) | {"tokenizer.json": b""})
    crawl(lake, hub)
    records = Current(lake).records()
    assert [file.path for file in records["org/other"].files] == ["model.safetensors", "config.json"]
    *_, found = records["org/text"].files
    assert (found.path, found.size, found.format) == ("tokenizer.json", 2, "text")
    fetched = Fetcher(config(hub).build(lake)).fetch(records["org/text"], fetch_sampled)
    assert (fetched.folder / "tokenizer.json").read_bytes() == b"{}"


def test_a_second_crawl_finds_nothing_and_asks_for_two_pages(lake: Lake, hub: StandinHub) -> None:
    assert len(crawl(lake, hub).new) == 3
    assert not crawl(lake, hub).batches
    assert [seen.method for seen in hub.requests] == ["GET", "GET"]


def test_only_what_changed_is_looked_at(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    hub.push("org/m1", files(9))
    hub.push("org/new", files(10))
    hub.delete("org/m0")
    summary = crawl(lake, hub)
    assert (summary.new, summary.changed, summary.deleted) == (["org/new"], ["org/m1"], ["org/m0"])
    asked = {seen.path.split("/resolve/")[0] for seen in hub.requests if "/resolve/" in seen.path}
    assert asked == {"/org/m1", "/org/new"}
    assert Current(lake).records()["org/m0"].status == "deleted"


def test_a_model_that_comes_back_is_new(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    hub.delete("org/m0")
    crawl(lake, hub)
    hub.push("org/m0", files(0))
    assert crawl(lake, hub).new == ["org/m0"]


def test_what_cannot_be_taken_is_skipped_with_its_reason(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/gated", files(), gated="manual")
    hub.push("org/disabled", files(), disabled=True)
    hub.push("org/empty", {".gitattributes": b""})
    hub.push("org/weightless", {"config.json": CONFIG})
    hub.push("org/lite", {"model.tflite": b"x"})
    hub.push("org/large", files(1))
    hub.push("org/shard", {"model-00001-of-00002.safetensors": weights(1)})
    found = reasons(crawl(lake, hub, max_bytes=len(weights(1)) - 1))
    assert found["org/gated"] == "gated (manual approval) and no token is set"
    assert found["org/disabled"] == "disabled by the Hub"
    assert found["org/empty"] == "empty"
    assert found["org/weightless"] == "no weights"
    assert found["org/lite"].startswith("weights only as tflite; taken are safetensors, pytorch, ")
    assert found["org/large"].startswith("oversized: ")
    assert found["org/shard"] == "1 of 2 shards"
    assert not crawl(lake, hub, max_bytes=len(weights(1)) - 1).batches


@pytest.mark.parametrize(
    ("before", "after"), [({"gated": "auto"}, {"gated": False}), ({"disabled": True}, {"disabled": False})]
)
def test_what_was_skipped_comes_back_without_a_commit(
    before: dict[str, Any], after: dict[str, Any], lake: Lake, hub: StandinHub
) -> None:
    hub.push("org/shy", files(5), at=LONG_AGO, **before)
    assert list(reasons(crawl(lake, hub))) == ["org/shy"]
    hub.set("org/shy", **after)
    summary = crawl(lake, hub)
    assert (summary.changed, summary.skipped) == (["org/shy"], [])
    hub.set("org/shy", **before)
    assert list(reasons(crawl(lake, hub))) == ["org/shy"]


def test_larger_limits_bring_oversized_models_back(lake: Lake, hub: StandinHub) -> None:
    assert len(crawl(lake, hub, max_bytes=10).skipped) == 3
    summary = crawl(lake, hub, max_bytes=10**6)
    assert (len(summary.changed), summary.skipped) == (3, [])


def test_a_token_opens_gated_models_that_it_may_see(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push("org/open", files(5), gated="auto")
    hub.push("org/shut", files(6), gated="auto")
    hub.tokens = {"hf_secret": {"org/open"}}
    monkeypatch.setenv("MY_TOKEN", "hf_secret")
    summary = crawl(lake, hub, token_env="MY_TOKEN")
    assert reasons(summary) == {"org/shut": "gated: this token has no access"}
    assert not crawl(lake, hub, token_env="MY_TOKEN").batches
    hub.tokens = {"hf_secret": {"org/open", "org/shut"}}
    assert crawl(lake, hub, token_env="MY_TOKEN").changed == ["org/shut"]


def test_private_models_are_gone_for_strangers_and_skipped_for_members(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawl(lake, hub)
    hub.set("org/m0", private=True)
    assert crawl(lake, hub).deleted == ["org/m0"]
    hub.tokens = {"hf_secret": {"org/m0"}}
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert reasons(crawl(lake, hub)) == {"org/m0": "private"}


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"task": "image-classification"}, {"org/m0", "org/m1", "org/m2", "other/x"}),
    ({"author": "other"}, {"other/x"}),
    ({"search": "M1"}, {"org/m1"}),
    ({"library": "keras"}, {"other/x"}),
    ({"tags": ["green"]}, {"other/x"}),
    ({"license": "mit"}, {"other/x"}),
    ({"min_parameters": 33}, {"other/x"}),
    ({"max_parameters": 32}, {"org/m0", "org/m1", "org/m2"}),
    ({"author": "org", "library": "keras"}, set()),
]


@pytest.mark.parametrize(("options", "expected"), FILTERS)
def test_filters(options: dict[str, Any], expected: set[str], lake: Lake, hub: StandinHub) -> None:
    card = card_of("cats").replace("---\n", "---\nlibrary_name: keras\nlicense: mit\ntags: [green]\n", 1)
    large = save({"0.weight": torch.ones(33)})
    hub.push("other/x", files() | {"model.safetensors": large, "README.md": card.encode()})
    assert set(crawl(lake, hub, **options).new) == expected


BAD_CARDS = {
    "no front matter": b"# just text",
    "no YAML": b"---\n{[\n---\n",
    "odd metrics": b"---\nmodel-index: [{name: 3, results: {a: b}}]\n---\n",
    "odd types": b"---\ntags: 3\ndatasets: {a: b}\nlicense: [1]\nlibrary_name: {}\n---\n",
    "not text": b"\xff\xfe---\n\x00",
    "odd keys": b"---\n1: 2\nself: me\n---\n",
}


@pytest.mark.parametrize("kind", BAD_CARDS)
def test_malformed_cards_fail_no_record(kind: str, lake: Lake, hub: StandinHub) -> None:
    hub.push("org/odd", files(4) | {"README.md": BAD_CARDS[kind]})
    summary = crawl(lake, hub)
    assert ("org/odd" in summary.new, summary.skipped) == (True, [])


@pytest.mark.parametrize(
    "settings",
    [
        {"cardData": [1]},
        {"cardData": {"self": 1, "eval_results": 3}},
        {"model-index": "x"},
        {"config": []},
        {"safetensors": {"total": "many"}},
        {"tags": [None, 3]},
        {"baseModels": {"models": [None]}},
        {"baseModels": [1]},
        {"gguf": 3},
        {"createdAt": "yesterday"},
    ],
)
def test_malformed_answers_fail_no_record(settings: dict[str, Any], lake: Lake, hub: StandinHub) -> None:
    hub.push("org/odd", files(4), **settings)
    summary = crawl(lake, hub)
    assert ("org/odd" in summary.new, summary.skipped) == (True, [])


def test_downloads_are_pinned_verified_and_given_up(lake: Lake, hub: StandinHub) -> None:
    crawl_zoo(lake, config(hub))
    pinned = Current(lake).records()["org/m0"].revision
    hub.push("org/m0", files(99))
    hub.forget()
    (batch,) = lake.batches()
    fetcher = Fetcher(config(hub).build(lake))
    assert extract_batch(lake, batch, fetcher).models == 3
    resolved = [seen.path for seen in hub.requests]
    assert all("/resolve/" in path for path in resolved)
    assert any(f"/org/m0/resolve/{pinned}/" in path for path in resolved)
    hub.forget()
    assert layer_batch(lake, batch, fetcher).models == 3
    assert respond_batch(lake, batch, fetcher).skipped == 3
    assert hub.count() == 0
    assert not list((lake.root / "zoo" / "huggingface" / "cache").rglob("*.safetensors"))


def test_giving_up_one_revision_leaves_the_other(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    old = Current(lake).records()["org/m0"]
    hub.push("org/m0", files(99))
    crawl(lake, hub)
    new = Current(lake).records()["org/m0"]
    fetcher = Fetcher(config(hub).build(lake))
    folders = [fetcher.fetch(record, fetch_sampled).folder for record in (old, new)]
    fetcher.release([old])
    assert [(folder / "model.safetensors").exists() for folder in folders] == [False, True]


def test_downloads_that_cannot_be_read_are_given_up_too(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/m1", files() | {"model.safetensors": b"\xff" * 100}, safetensors=None)
    assert [row["model_id"] for row in ingest(lake, hub)] == ["org/m1"]
    assert not list((lake.root / "zoo" / "huggingface" / "cache").rglob("*.safetensors"))


def test_wrong_bytes_once_are_fetched_again(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    hub.script("model.safetensors", [Fault("slow", 0), Fault("wrong_bytes")])
    (batch,) = lake.batches()
    assert extract_batch(lake, batch, Fetcher(config(hub).build(lake))).skipped == 0


def test_a_file_that_the_hub_fails_on_skips_its_model_until_it_works(lake: Lake, hub: StandinHub) -> None:
    hub.script("m1/resolve", [Fault("504")] * politeness.ATTEMPTS)
    assert "504" in reasons(crawl(lake, hub))["org/m1"]
    summary = crawl(lake, hub)
    assert (summary.changed, summary.skipped) == (["org/m1"], [])


def test_a_crawl_that_breaks_off_goes_on_at_its_page(lake: Lake, hub: StandinHub) -> None:
    for number in range(3, 12):
        hub.push(f"org/m{number}", files(number), at=LONG_AGO + timedelta(days=number))
    options: dict[str, Any] = {"page_size": 3, "batch_size": 2}
    cut = [Fault("cut", sent=0)] * politeness.ATTEMPTS
    hub.script("sort=lastModified", [Fault("slow", 0), Fault("slow", 0), *cut])
    with pytest.raises(SourceUnavailable, match="disconnected"):
        crawl(lake, hub, **options)
    assert len(Current(lake).records()) == 6
    hub.push("org/late", files(50))
    summary = crawl(lake, hub, **options)
    assert len(summary.new) == 7
    assert "cursor" in hub.requests[0].path
    assert len(Current(lake).records()) == 13
    assert not crawl(lake, hub, **options).batches


def test_a_page_that_always_fails_keeps_nothing_from_being_found(lake: Lake, hub: StandinHub) -> None:
    hub.script("cursor=", [Fault("504")] * 1000)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="504"):
            crawl(lake, hub, page_size=2)
        assert len(Current(lake).records()) == len(hub.repos)
        hub.push("org/new", files(9))


def test_a_page_that_no_longer_exists_begins_the_walk_anew(lake: Lake, hub: StandinHub) -> None:
    source: HuggingfaceSource = config(hub).build(lake)[0]  # type: ignore[assignment]
    Cursor(source.folder).descend(LONG_AGO, f"{hub.endpoint}/api/models?cursor=broken&limit=3")
    assert len(crawl(lake, hub).new) == 3


def test_models_that_move_while_one_pages_are_neither_missed_nor_doubled(lake: Lake, hub: StandinHub) -> None:
    for number in range(3, 12):
        hub.push(f"org/m{number}", files(number), at=LONG_AGO + timedelta(days=number))
    pages = iter(range(100))

    def move(method: str, path: str) -> None:
        if "sort=lastModified" in path:
            page = next(pages)
            hub.touch(f"org/m{page}")
            hub.touch(f"org/m{11 - page}", at=LONG_AGO - timedelta(days=page))

    hub.on_request = move
    crawl(lake, hub, page_size=3)
    hub.on_request = None
    records = Current(lake).records()
    assert {model_id: record.revision for model_id, record in records.items()} == {
        model_id: repo.head.sha for model_id, repo in hub.repos.items()
    }
    assert not crawl(lake, hub, page_size=3).batches


def test_two_sources_may_overlap(lake: Lake, hub: StandinHub) -> None:
    hub.push("other/x", files(5))
    tables = [
        {"kind": "huggingface", "endpoint": hub.endpoint, "requests_per_5_minutes": 10**7, **filters}
        for filters in ({"author": "org"}, {"task": "image-classification"})
    ]
    both = ZooConfig(tuple(tables), Path("/"))
    assert sorted(crawl_zoo(lake, both).new) == ["org/m0", "org/m1", "org/m2", "other/x"]
    hub.forget()
    assert not crawl_zoo(lake, both).batches
    assert hub.count() == 4
    hub.delete("other/x")
    assert crawl_zoo(lake, both).deleted == ["other/x"]


def test_an_unreachable_hub_does_not_keep_other_sources_from_being_crawled(
    lake: Lake, hub: StandinHub, zoo: Path
) -> None:
    (zoo / "a").mkdir()
    (zoo / "a" / "model.safetensors").write_bytes(weights(1))
    tables = ({"kind": "huggingface", "endpoint": "http://127.0.0.1:9"}, {"kind": "directory", "path": "zoo"})
    with pytest.raises(SourceUnavailable, match=r"source huggingface: http://127\.0\.0\.1:9"):
        crawl_zoo(lake, ZooConfig(tables, zoo.parent))
    assert list(Current(lake).records()) == ["directory:zoo/a"]


def test_a_hub_that_refuses_to_list_is_unavailable(lake: Lake, hub: StandinHub) -> None:
    with pytest.raises(SourceUnavailable, match=r"source huggingface: .*404") as error:
        crawl(lake, hub, endpoint=f"{hub.endpoint}/nothing")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "endpoint", ["http://me:secret@127.0.0.1", "localhost:8001", "ftp://127.0.0.1", "http://h/?t=secret"]
)
def test_endpoints_that_cannot_be_used(endpoint: str, lake: Lake, hub: StandinHub) -> None:
    with pytest.raises(ConfigError, match="endpoint") as error:
        crawl(lake, hub, endpoint=endpoint)
    assert "secret" not in str(error.value)


def test_requests_for_the_config_are_made_for_downloads_alone(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    assert not [seen for seen in hub.requests if seen.path.endswith("config.json")]


@pytest.mark.parametrize(
    "options",
    [
        {"page_size": 0},
        {"parallel": True},
        {"max_bytes": -1},
        {"requests_per_5_minutes": 0},
        {"min_parameters": "1M"},
        {"task": 3},
        {"token_env": 3},
        {"formats": "safetensors"},
        {"formats": ["zip"]},
        {"min_parameters": 10, "max_parameters": 9},
    ],
)
def test_settings_that_cannot_be_used(options: dict[str, Any], lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"huggingface source: {next(iter(options))} "):
        ZooConfig(({"kind": "huggingface", **options},), tmp_path).build(lake)


def test_the_walk_stops_where_the_last_one_began(lake: Lake, hub: StandinHub) -> None:
    newest = LONG_AGO + timedelta(days=5)
    hub.push("org/newest", files(3), at=newest)
    hub.push("org/within", files(4), at=newest - walk.OVERLAP / 2)
    crawl(lake, hub, page_size=1)
    hub.push("org/new", files(5), at=LONG_AGO + timedelta(days=10))
    crawl(lake, hub, page_size=1)
    pages = [seen for seen in hub.requests if "sort=lastModified" in seen.path]
    assert len(pages) == 4  # the new one, the last newest, one within the overlap, one beyond
