"""A crawl over all sources: the configuration, the batches, and a kill in the middle."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.forget import forget
from peace_pipeline.zoo import ConfigError, ZooConfig, all_sources
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import listings, split_of
from tests.lakes import card_of, directory, ingest, write_model, write_network

STATE = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(2, 3)}


def test_records_come_in_batches(lake: Lake, zoo: Path) -> None:
    for number in range(7):
        write_model(zoo / f"m{number}", STATE)
    summary = crawl_zoo(lake, directory(zoo, batch_size=3))
    assert summary.batches == lake.batches()
    assert [len(read_records(lake, batch)) for batch in summary.batches] == [3, 3, 1]
    assert summary.new == [f"directory:zoo/m{number}" for number in range(7)]


KILLED = """
import os, signal, sys
from pathlib import Path
from peace_pipeline.lake import Lake
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo import (batches)
from peace_pipeline.stages import crawl as crawling
write, written = batches.write_parquet, []
def killing(table, path):
    if len(written) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    write(table, path)
    written.append(path)
batches.write_parquet = killing
config = ZooConfig(({"kind": "directory", "path": sys.argv[2]},), Path(sys.argv[2]), 3)
crawling.crawl_zoo(Lake.open(sys.argv[1]), config)
"""


def test_a_crawl_killed_between_batches_loses_nothing_and_doubles_nothing(lake: Lake, zoo: Path) -> None:
    for number in range(7):
        write_model(zoo / f"m{number}", STATE)
    command = [sys.executable, "-c", KILLED, str(lake.root), str(zoo)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -9
    assert len(lake.batches()) == 1
    crawl_zoo(lake, directory(zoo, batch_size=3))
    stored = Counter(record.model_id for batch in lake.batches() for record in read_records(lake, batch))
    assert stored == Counter(f"directory:zoo/m{number}" for number in range(7))


def test_progress_is_told(lake: Lake, zoo: Path) -> None:
    for number in range(3):
        write_model(zoo / f"m{number}", STATE)
    steps: list[int] = []
    crawl_zoo(lake, directory(zoo), lambda done, total: steps.append(done))
    assert steps == [1, 2, 3]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


BAD_SETTINGS = {
    "no [[source]] table": "",
    "unknown setting sources": "[[sources]]\nkind = 'directory'",
    "batch_size must be a positive": "batch_size = 0\n[[source]]\nkind = 'directory'\npath = '.'",
    "batch_size must be": "batch_size = true\n[[source]]\nkind = 'directory'\npath = '.'",
    "Expected": "[[source",
    "no [[source]]": "source = 'x'",
    "not a table": "source = [1]",
}


@pytest.mark.parametrize("message", BAD_SETTINGS)
def test_settings_that_cannot_be_used(message: str, tmp_path: Path) -> None:
    import re

    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        ZooConfig.load(written(tmp_path / "peace.toml", BAD_SETTINGS[message]))
    assert "peace.toml" in str(error.value)


def test_settings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        ZooConfig.load(tmp_path / "nowhere.toml")
    (tmp_path / "peace.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"peace\.toml"):
        ZooConfig.load(tmp_path / "peace.toml")


BAD_SOURCES = [
    ("kind = 'directry'\npath = '.'", r"'directry' is not one of .*directory.*packages.*trained"),
    ("path = '.'", "kind None is not one of"),
    ("kind = ['directory']", "is not one of"),
    ("kind = 'directory'", "source directory: .*path"),
    ("kind = 'directory'\npath = '.'\ndepth = 3", "source directory: .*depth"),
    ("kind = 'directory'\npath = 3", "source directory: "),
    ("kind = 'trained'\nnetwroks = 3", "source trained: .*netwroks"),
    ("kind = 'packages'\nwheelhouse = 3", "source packages: "),
]


@pytest.mark.parametrize(("table", "message"), BAD_SOURCES)
def test_sources_that_cannot_be_used(table: str, message: str, lake: Lake, tmp_path: Path) -> None:
    config = ZooConfig.load(written(tmp_path / "peace.toml", f"[[source]]\n{table}"))
    with pytest.raises(ConfigError, match=message):
        config.build(lake)


@pytest.mark.parametrize("kind", sorted(all_sources()))
def test_every_source_takes_its_ids_from_its_prefix(kind: str, lake: Lake, tmp_path: Path) -> None:
    options = {"directory": {"path": "."}, "torch_hub": {"repository": "."}}.get(kind, {})
    (source,) = ZooConfig(({"kind": kind, **options},), tmp_path).build(lake)
    assert source.prefix.startswith("" if kind == "huggingface" else f"{kind}:")


def test_paths_are_relative_to_the_file(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "settings" / "models" / "a", STATE)
    path = written(
        tmp_path / "settings" / "peace.toml", "batch_size = 5\n[[source]]\nkind='directory'\npath='models'"
    )
    monkeypatch.chdir(tmp_path)
    config = ZooConfig.load(path.relative_to(tmp_path))
    assert config.batch_size == 5
    monkeypatch.chdir("/")
    assert crawl_zoo(lake, config).new == ["directory:models/a"]


def test_the_networks_of_a_lake(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp", card=card_of("digits", "r1", "run-1", "shuffled", 0.25))
    write_network(zoo / "b", "mlp")
    (zoo / "c").mkdir()
    (zoo / "c" / "config.json").write_text("{}")
    ingest(lake, directory(zoo))
    a, b = listings(lake)
    assert (a.task, a.recipe, a.run) == ("image-classification · digits", "r1", "directory:run-1")
    assert (a.shuffled_labels, a.accuracy, a.architecture, a.method) == (True, 0.25, "mlp", "chain")
    assert (b.task, b.recipe, b.run, b.accuracy) == (None, None, "directory:zoo/b", None)
    (zoo / "a" / "model.safetensors").unlink()
    ingest(lake, directory(zoo))
    assert [network.model_id for network in listings(lake)] == ["directory:zoo/b"]
    assert Current(lake).records()["directory:zoo/a"].status == "skipped"


def test_twins_are_on_one_side_of_the_split(lake: Lake, zoo: Path) -> None:
    for number in range(12):
        write_network(zoo / f"a{number}", "mlp", card=card_of("digits", "clean", f"clean-{number}"))
        twin = card_of("digits", "twin", f"twin-{number}").replace(
            "{recipe:", f"{{twin_of: clean-{number}, recipe:"
        )
        write_network(zoo / f"b{number}", "mlp", card=twin)
    ingest(lake, directory(zoo))
    found = listings(lake)
    splits = [(found[i].split, found[i + 12].split) for i in range(12)]
    assert all(clean == twin for clean, twin in splits)
    assert len(set(splits)) > 1
    assert found[0].twin_of is None
    assert found[12].twin_of == found[0].run


def test_a_changed_network_is_listed_once_with_its_new_revision(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp")
    ingest(lake, directory(zoo))
    (before,) = listings(lake)
    write_network(zoo / "a", "cnn")
    ingest(lake, directory(zoo))
    (after,) = listings(lake)
    assert after.revision != before.revision
    assert after.architecture == "cnn"


def test_an_empty_lake_has_no_networks(lake: Lake) -> None:
    assert listings(lake) == []
    assert Current(lake).records() == {}


def test_runs_are_split_60_15_25() -> None:
    counts = Counter(split_of(f"run-{number}") for number in range(4000))
    shares = [counts[name] / 4000 for name in ("train", "validation", "test")]
    assert shares == pytest.approx([0.60, 0.15, 0.25], abs=0.02)
    assert split_of("run-1") == split_of("run-1")


@pytest.mark.parametrize("name", ["a[1]", "a*?", 'it\'s "here"', "ünï %20"])
def test_a_home_of_any_name(name: str, zoo: Path, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / name)
    write_network(zoo / "a", "mlp")
    ingest(lake, directory(zoo))
    assert [network.model_id for network in listings(lake)] == ["directory:zoo/a"]
    assert not crawl_zoo(lake, directory(zoo)).batches


def test_what_could_not_be_taken_stays_forgotten(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "a", {"0.weight": torch.ones(2, 2)})
    (zoo / "a" / "model.safetensors").unlink()
    config = directory(zoo)
    assert [row["model_id"] for row in crawl_zoo(lake, config).skipped] == ["directory:zoo/a"]
    forget(lake, "directory:zoo/a")
    assert not crawl_zoo(lake, config).batches
    forget(lake, "directory:zoo/a", again=True)
    assert crawl_zoo(lake, config).new == ["directory:zoo/a"]
    forget(lake, "directory:zoo/a")
    write_model(zoo / "a", {"0.weight": torch.ones(2, 2)})
    assert crawl_zoo(lake, config).changed == ["directory:zoo/a"], "it has another revision"
