"""`peace …` on a lake whose disk is full, or read-only."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.zoo import ZooConfig
from tests.disks import disk, fill, make_read_only
from tests.pipeline import Workplace, write_networks

__all__ = ["disk"]
WRITING = [
    ["run"],
    ["demo"],
    ["train"],
    ["report", "retrieval", "--write"],
    ["forget", "directory:zoo/n000"],
    ["ui"],
]


@pytest.fixture
def here(disk: Path) -> Workplace:
    place = Workplace(disk)
    write_networks(place.zoo, 0, 2)
    (disk / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    (disk / "home").mkdir()
    return place


@pytest.mark.parametrize("arguments", WRITING, ids=lambda words: words[0])
def test_a_read_only_lake(here: Workplace, arguments: list[str]) -> None:
    make_read_only(here.root)
    answer = here.peace(*arguments, code=1)
    assert (answer.out, answer.err) == ("", f"peace: {here.root / 'home'} is read-only\n")
    assert "no index" in here.peace("search", "zoo/n000", code=1).err
    assert here.peace("report").out


def test_a_lake_that_can_only_be_read_is_looked_at(here: Workplace) -> None:
    crawl_zoo(here.lake, ZooConfig.load(here.root / "peace.toml"))
    make_read_only(here.root)
    assert [row["model_id"] for row in here.peace("list", "--json").json] == [
        f"directory:zoo/n00{n}" for n in (0, 1)
    ]
    assert here.peace("status", "--json").json["stale"] == {"extract": 2}
    assert "waits: `peace run` embeds it" in here.peace("show", "directory:zoo/n000").out


def test_a_lake_that_is_no_folder(here: Workplace) -> None:
    (here.root / "home").rmdir()
    (here.root / "home").touch()
    assert here.peace("run", code=1).err == f"peace: {here.root / 'home'} is no folder\n"


def test_models_of_a_read_only_lake_that_no_current_state_was_made_of(here: Workplace) -> None:
    crawl_zoo(here.lake, ZooConfig.load(here.root / "peace.toml"))
    shutil.rmtree(here.lake.current)
    make_read_only(here.root)
    assert here.peace("wiring", "directory:zoo/n000", "--json").json["method"] == "chain"
    pair = ("directory:zoo/n000", "directory:zoo/n000")
    assert here.peace("compare", *pair, "--json").json["verdict"] == "identical"
    assert "no such file" in here.peace("wiring", "directory:zoo/nowhere", code=1).err


@pytest.mark.parametrize("arguments", WRITING, ids=lambda words: words[0])
def test_a_full_disk(here: Workplace, arguments: list[str]) -> None:
    fill(here.root)
    answer = here.peace(*arguments, code=1)
    assert (answer.out, answer.err.count("\n")) == ("", 1)
    assert answer.err.startswith("peace: the disk of ")
    assert " is full: make room there" in answer.err


def test_a_disk_that_fills_during_a_run(here: Workplace) -> None:
    fill(here.root, left=300_000)  # a run's own records need more
    answer = here.peace("run", code=1)
    assert re.fullmatch("peace: the disk of .+ is full(: make room .+| or broken)\n", answer.err)
    assert answer.out == ""


def test_what_is_written_elsewhere(here: Workplace) -> None:
    make_read_only(here.root)
    target = here.root / "copy"
    answer = here.peace("transform", "zoo/n000", target, "--permute", "--assume", "chain", code=1)
    assert answer.err == f"peace: {here.root} is read-only\n"
