"""The directory source: what is new, changed, gone or unusable, with unchanged files left closed."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.outcome import skipped_models
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.weights.formats.registry import READERS
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.formats import AMBIGUOUS, DATA, FORMATS
from tests.lakes import card_of, directory, ingest, write_model, write_network

STATE = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(2, 3)}
_opened: list[Path] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | os.PathLike):
        _opened.append(Path(arguments[0]))


sys.addaudithook(_watch)


@contextmanager
def opened_under(folder: Path) -> Iterator[set[Path]]:
    """Collects the files under ``folder`` that Python opens within the block."""
    global _opened
    found: set[Path] = set()
    _opened = []
    try:
        yield found
    finally:
        found |= {path for path in _opened if path.is_relative_to(folder)}
        _opened = None


def nothing(summary: CrawlSummary) -> bool:
    return not (summary.new or summary.changed or summary.deleted or summary.batches)


def test_new_changed_deleted_and_unchanged(lake: Lake, zoo: Path) -> None:
    for name in ("a", "b", "c"):
        write_model(zoo / name, STATE)
    config = directory(zoo)
    assert crawl_zoo(lake, config).new == [f"directory:zoo/{name}" for name in "abc"]
    before = Current(lake).records()
    write_model(zoo / "b", STATE | {"0.weight": torch.zeros(3, 2)})
    (zoo / "c" / "model.safetensors").unlink()
    (zoo / "c" / "config.json").unlink()
    write_model(zoo / "d", STATE)
    summary = crawl_zoo(lake, config)
    assert (summary.new, summary.changed, summary.deleted) == (
        ["directory:zoo/d"],
        ["directory:zoo/b"],
        ["directory:zoo/c"],
    )
    after = Current(lake).records()
    assert after["directory:zoo/a"] == before["directory:zoo/a"]
    assert after["directory:zoo/b"].revision != before["directory:zoo/b"].revision
    assert after["directory:zoo/c"].status == "deleted"
    assert nothing(crawl_zoo(lake, config))


def test_unchanged_files_are_not_opened(lake: Lake, zoo: Path) -> None:
    for name in ("a", "b"):
        write_network(zoo / name, "mlp", card=card_of("digits"))
    with opened_under(zoo) as first:
        crawl_zoo(lake, directory(zoo))
    assert {path.parent.name for path in first} == {"a", "b"}, "the watch sees opens"
    write_network(zoo / "b", "mlp", seed=1, card=card_of("digits"))
    with opened_under(zoo) as second:
        assert crawl_zoo(lake, directory(zoo)).changed == ["directory:zoo/b"]
    assert {path.parent.name for path in second} == {"b"}


def test_touched_but_equal_files_are_no_change(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "a", STATE)
    crawl_zoo(lake, directory(zoo))
    os.utime(zoo / "a" / "model.safetensors", (1, 1))
    assert nothing(crawl_zoo(lake, directory(zoo)))


def test_models_that_moved_with_their_source_are_found_there(lake: Lake, zoo: Path, tmp_path: Path) -> None:
    for name, value in (("alone", 1.0), ("two", 2.0)):
        write_model(zoo / name, {name: torch.full((2, 2), value)})
    save_file({"other": torch.ones(2, 2)}, zoo / "two" / "other.safetensors")
    assert len(ingest(lake, directory(zoo)).new) == 3
    there = zoo.rename(tmp_path / "elsewhere")
    config = directory(there, label=zoo.name)
    assert crawl_zoo(lake, config).new == []
    fetcher = Fetcher(config.build(lake))
    for model_id, names in (("alone", {"alone"}), ("two", {"two"}), ("two#other.safetensors", {"other"})):
        with open_network(lake, f"directory:{zoo.name}/{model_id}", fetcher) as network:
            assert {*network.checkpoint.tensors} == names


def test_a_deleted_model_that_comes_back_is_new(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "a", STATE)
    crawl_zoo(lake, directory(zoo))
    (zoo / "a").rename(zoo.parent / "aside")
    assert crawl_zoo(lake, directory(zoo)).deleted == ["directory:zoo/a"]
    assert nothing(crawl_zoo(lake, directory(zoo)))
    (zoo.parent / "aside").rename(zoo / "a")
    assert crawl_zoo(lake, directory(zoo)).new == ["directory:zoo/a"]
    assert Current(lake).records()["directory:zoo/a"].status == "new"


def test_a_config_without_weights_is_one_skipped_record(lake: Lake, zoo: Path) -> None:
    (zoo / "a").mkdir()
    (zoo / "a" / "config.json").write_text("{}")
    (zoo / "notes").mkdir()
    (zoo / "notes" / "README.md").write_text("no model")
    expected = [{"model_id": "directory:zoo/a", "reason": "config.json but no weights"}]
    assert crawl_zoo(lake, directory(zoo)).skipped == expected
    assert nothing(crawl_zoo(lake, directory(zoo)))
    write_model(zoo / "a", STATE)
    summary = crawl_zoo(lake, directory(zoo))
    assert (summary.changed, summary.skipped) == (["directory:zoo/a"], [])
    assert Current(lake).records()["directory:zoo/a"].status == "new"


def test_a_truncated_file_is_skipped_and_the_batch_goes_on(lake: Lake, zoo: Path) -> None:
    for name in ("good", "truncated"):
        write_model(zoo / name, STATE)
    path = zoo / "truncated" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    (batch,) = ingest(lake, directory(zoo)).batches
    (skipped,) = skipped_models(lake, batch)
    assert skipped["model_id"] == "directory:zoo/truncated"
    assert "not a whole safetensors file" in skipped["reason"]


def test_a_file_that_changes_after_the_crawl_is_skipped(lake: Lake, zoo: Path) -> None:
    for name in ("changed", "gone", "good"):
        write_model(zoo / name, STATE)
    (batch,) = crawl_zoo(lake, directory(zoo)).batches
    write_model(zoo / "changed", STATE | {"0.weight": torch.zeros(3, 2)})
    (zoo / "gone" / "model.safetensors").unlink()
    outcome = extract_batch(lake, batch)
    assert (outcome.models, outcome.skipped) == (1, 2)


def test_which_files_are_the_model(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "both", STATE)
    torch.save(STATE, zoo / "both" / "pytorch_model.bin")
    (zoo / "several").mkdir()
    for name in ("one.pt", "two.pt"):
        torch.save(STATE, zoo / "several" / name)
    write_model(zoo / "sharded", STATE)
    (zoo / "sharded" / "model.safetensors").rename(zoo / "sharded" / "model-00001-of-00002.safetensors")
    reasons = {entry["model_id"]: entry["reason"] for entry in crawl_zoo(lake, directory(zoo)).skipped}
    assert reasons.keys() == {"directory:zoo/sharded"}
    for name in ("one.pt", "two.pt"):
        (file,) = Current(lake).records()[f"directory:zoo/several#{name}"].files
        assert file.path == name
    assert "1 of 2 shards" in reasons["directory:zoo/sharded"]
    both = Current(lake).records()["directory:zoo/both"]
    assert {file.path for file in both.files} == {"config.json", "model.safetensors"}
    assert both.tags == ("variant:pytorch_model.bin",)
    write_model(zoo / "sharded", STATE)
    (zoo / "sharded" / "model.safetensors").rename(zoo / "sharded" / "model-00002-of-00002.safetensors")
    assert crawl_zoo(lake, directory(zoo)).skipped == []
    shards = {file.path for file in Current(lake).records()["directory:zoo/sharded"].files}
    assert shards >= {f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}


def write_shards(folder: Path, index: object) -> None:
    """A model in two files whose names follow no pattern, and their index."""
    folder.mkdir()
    for part, name in enumerate(("first.safetensors", "second.safetensors")):
        save_file({f"{part}.weight": STATE[f"{part}.weight"]}, folder / name)
    text = index if isinstance(index, str) else json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def test_an_index_names_the_shards(lake: Lake, zoo: Path) -> None:
    index = {"0.weight": "first.safetensors", "1.weight": "second.safetensors"}
    write_shards(zoo / "whole", index)
    save_file(STATE, zoo / "whole" / "unrelated.safetensors")
    write_shards(zoo / "cut", index)
    (zoo / "cut" / "second.safetensors").unlink()
    write_shards(
        zoo / "climbing", {"0.weight": "first.safetensors", "1.weight": "../whole/second.safetensors"}
    )
    write_shards(zoo / "single", index)
    (zoo / "single" / "first.safetensors").unlink()
    save_file(STATE, zoo / "single" / "model.safetensors")
    for number, text in enumerate(
        ("{", "[" * 100_000, "[]", '{"weight_map": [3]}', '{"weight_map": {"a": 3}}')
    ):
        write_shards(zoo / f"damaged-{number}", text)
    summary = ingest(lake, directory(zoo))
    reasons = {entry["model_id"].rpartition("/")[2]: entry["reason"] for entry in summary.skipped}
    assert reasons.pop("cut") == "1 of 2 shards that the index names"
    assert reasons.pop("climbing") == (
        "the index of shards names '../whole/second.safetensors', which is not in its folder"
    )
    assert not reasons, "an index that is damaged names nothing: its shards are models of their own"
    damaged = {
        model_id for model_id in Current(lake).records() if model_id.startswith("directory:zoo/damaged-")
    }
    assert len(damaged) == 10
    chosen = {
        name: {file.path for file in Current(lake).records()[f"directory:zoo/{name}"].files}
        for name in ("whole", "single")
    }
    assert chosen == {"whole": set(index.values()), "single": {"model.safetensors"}}
    assert skipped_models(lake, summary.batches[0]) == []


def test_formats_that_are_read_are_preferred(lake: Lake, zoo: Path) -> None:
    order = list(dict.fromkeys(FORMATS.values()))
    assert set(order[: len(READERS)]) == set(READERS), (
        "a format without a reader would be chosen before one with"
    )
    (zoo / "a").mkdir()
    for name in FORMATS:
        (zoo / "a" / f"net{name}").write_bytes(b"x")
    torch.save(STATE, zoo / "a" / "net.bin")
    for name in (".safetensors", ".pt", ".pth", ".ckpt"):
        (zoo / "a" / f"net{name}").unlink()
    summary = ingest(lake, directory(zoo))
    assert [file.path for file in Current(lake).records()["directory:zoo/a"].files] == ["net.bin"]
    skipped = {row["model_id"] for row in skipped_models(lake, summary.batches[0])}
    assert skipped == {f"directory:zoo/a#net{suffix}" for suffix in DATA}, "the others are variants"


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix not in AMBIGUOUS])
def test_every_suffix_is_a_model(lake: Lake, zoo: Path, suffix: str) -> None:
    (zoo / "a").mkdir()
    (zoo / "a" / f"NET{suffix.upper()}").write_bytes(b"x")
    summary = ingest(lake, directory(zoo))
    assert summary.new == ["directory:zoo/a"]
    (skipped,) = skipped_models(lake, summary.batches[0])
    assert skipped["reason"].startswith(f"NET{suffix.upper()}: ")


def test_what_a_training_leaves_behind_is_no_model(lake: Lake, zoo: Path) -> None:
    names = [
        "optimizer.pt",
        "scheduler.pt",
        "scaler.pt",
        "training_args.bin",
        "rng_state.pth",
        "rng_state_0.pth",
    ]
    for folder in ("a", "b"):
        (zoo / folder).mkdir()
        for name in names:
            torch.save(STATE, zoo / folder / name)
    torch.save(STATE, zoo / "a" / "net.pt")
    assert crawl_zoo(lake, directory(zoo)).new == ["directory:zoo/a"]
    assert [file.path for file in Current(lake).records()["directory:zoo/a"].files] == ["net.pt"]


def test_a_folder_that_cannot_be_listed(lake: Lake, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b/inner", "c"):
        write_model(zoo / name, STATE)
    listed = os.scandir

    def refusing(*names: str) -> Any:
        def scandir(path: str) -> Any:
            if Path(path).name in names and Path(path).is_relative_to(zoo):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return listed(path)

        return scandir

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing("c"))
        summary = crawl_zoo(lake, directory(zoo))
        assert summary.new == ["directory:zoo/a", "directory:zoo/b/inner", "directory:zoo/c"]
        assert summary.skipped == [{"model_id": "directory:zoo/c", "reason": "unreadable: Permission denied"}]
        assert nothing(crawl_zoo(lake, directory(zoo)))
        patch.setattr(os, "scandir", refusing("a", "b", "c"))
        assert nothing(crawl_zoo(lake, directory(zoo))), "what was known is kept"
        patch.setattr(os, "scandir", refusing("zoo"))
        with pytest.raises(ConfigError, match="Permission denied"):
            crawl_zoo(lake, directory(zoo))
    assert crawl_zoo(lake, directory(zoo)).changed == ["directory:zoo/c"]
    assert nothing(crawl_zoo(lake, directory(zoo)))


def test_names_with_spaces_unicode_and_quotes(lake: Lake, zoo: Path) -> None:
    names = ["with space", "ünïcode-网络", 'it\'s "quoted"', "per%20cent#?", "back\\slash"]
    for name in names:
        write_model(zoo / name / "inner", STATE)
    (batch,) = ingest(lake, directory(zoo)).batches
    records = Current(lake).records()
    assert records.keys() == {f"directory:zoo/{name}/inner" for name in names}
    assert skipped_models(lake, batch) == []
    assert nothing(crawl_zoo(lake, directory(zoo)))


def test_a_name_that_is_not_text_is_skipped(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "good", STATE)
    write_model(Path(os.fsdecode(os.fsencode(zoo) + b"/bad-\xff")), STATE)
    summary = crawl_zoo(lake, directory(zoo))
    assert len(summary.new) == 2
    assert [entry["reason"] for entry in summary.skipped] == ["the folder's name is not UTF-8"]
    (zoo / "good" / "model.safetensors").rename(os.fsdecode(os.fsencode(zoo) + b"/good/\xff.safetensors"))
    assert [entry["reason"] for entry in crawl_zoo(lake, directory(zoo)).skipped] == [
        "a file's name is not UTF-8"
    ]
    assert nothing(crawl_zoo(lake, directory(zoo)))


def test_symlinks(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "a", STATE)
    (zoo / "a" / "loop").symlink_to(zoo)
    (zoo / "self").symlink_to("self")
    (zoo / "again").symlink_to(zoo / "a")
    (zoo / "round").mkdir()
    (zoo / "round" / "config.json").symlink_to("config.json")
    (zoo / "round" / "model.safetensors").symlink_to("model.safetensors")
    (zoo / "dangling").mkdir()
    (zoo / "dangling" / "model.safetensors").symlink_to(zoo / "nowhere")
    summary = crawl_zoo(lake, directory(zoo))
    assert summary.new == ["directory:zoo/a", "directory:zoo/dangling", "directory:zoo/round"]
    assert {entry["model_id"].rpartition("/")[2]: entry["reason"] for entry in summary.skipped} == {
        "dangling": "unreadable: No such file or directory",
        "round": "unreadable: Too many levels of symbolic links",
    }
    assert nothing(crawl_zoo(lake, directory(zoo)))


def test_a_pipe_in_place_of_a_file_is_not_read(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "a", STATE)
    os.mkfifo(zoo / "a" / "README.md")
    (zoo / "b").mkdir()
    os.mkfifo(zoo / "b" / "model.safetensors")
    summary = crawl_zoo(lake, directory(zoo))
    assert [entry["model_id"] for entry in summary.skipped] == ["directory:zoo/b"]


def test_hidden_folders_are_left_alone(lake: Lake, zoo: Path) -> None:
    write_model(zoo / ".cache" / "a", STATE)
    assert nothing(crawl_zoo(lake, directory(zoo)))


def test_a_missing_root_deletes_nothing(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "a", STATE)
    crawl_zoo(lake, directory(zoo))
    zoo.rename(zoo.parent / "unmounted")
    with pytest.raises(ConfigError, match="is not a folder"):
        crawl_zoo(lake, directory(zoo))
    assert Current(lake).records()["directory:zoo/a"].status == "new"


def test_sources_of_one_label_are_refused(lake: Lake, zoo: Path) -> None:
    other = zoo.parent / "elsewhere" / "zoo"
    write_model(other / "a", STATE)
    sources = [{"kind": "directory", "path": str(path)} for path in (zoo, other)]
    with pytest.raises(ConfigError, match="same model ids"):
        crawl_zoo(lake, ZooConfig(tuple(sources), zoo))
    sources[1]["label"] = "other"
    assert crawl_zoo(lake, ZooConfig(tuple(sources), zoo)).new == ["directory:other/a"]


def test_a_label_cannot_reach_into_another_source(lake: Lake, zoo: Path) -> None:
    with pytest.raises(ConfigError, match="label"):
        directory(zoo, label="zoo/a").build(lake)


def test_two_sources_do_not_delete_each_others_models(lake: Lake, zoo: Path) -> None:
    other = zoo.parent / "zoo2"
    for root in (zoo, other):
        write_model(root / "a", STATE)
    sources = tuple({"kind": "directory", "path": str(path)} for path in (zoo, other))
    assert len(crawl_zoo(lake, ZooConfig(sources, zoo)).new) == 2
    assert nothing(crawl_zoo(lake, ZooConfig(sources, zoo)))
    assert nothing(crawl_zoo(lake, ZooConfig(sources[:1], zoo)))
