"""`peace …` on a lake whose disk is full, or read-only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.disks import disk, fill, make_read_only
from tests.pipeline import Workplace, write_networks

__all__ = ["disk"]
WRITING = [["run"], ["demo"], ["train"], ["report", "retrieval", "--write"]]


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


@pytest.mark.parametrize("arguments", WRITING, ids=lambda words: words[0])
def test_a_full_disk(here: Workplace, arguments: list[str]) -> None:
    fill(here.root)
    answer = here.peace(*arguments, code=1)
    assert (answer.out, answer.err.count("\n")) == ("", 1)
    assert answer.err.startswith("peace: the disk of ")
    assert answer.err.endswith(" is full\n")


def test_a_disk_that_fills_during_a_run(here: Workplace) -> None:
    fill(here.root, left=300_000)  # a run's own records need more
    answer = here.peace("run", code=1)
    assert re.fullmatch("peace: the disk of .+ is full( or broken)?\n", answer.err)
    assert answer.out == ""


def test_what_is_written_elsewhere(here: Workplace) -> None:
    make_read_only(here.root)
    target = here.root / "copy"
    answer = here.peace("transform", "zoo/n000", target, "--permute", code=1)
    assert answer.err == f"peace: {here.root} is read-only\n"
