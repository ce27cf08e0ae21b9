"""What came from what, as cards and contents say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peace_pipeline.atlas.lineage import Derived, grouped, read_lineage
from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from tests.lakes import directory, write_network

CARD = "---\nhyperparameters: {{run: {run}, twin_of: {twin}}}\n---\n"


def test_twins_runs_and_equal_contents(lake: Lake, zoo: Path) -> None:
    for name, run, twin in (("a", "one", "b"), ("b", "one", "elsewhere"), ("c", "two", "b")):
        write_network(zoo / name, "mlp", 1, CARD.format(run=run, twin=twin))
    crawl_zoo(lake, directory(zoo))
    names = [f"directory:zoo/{name}" for name in "abc"]
    lineage = read_lineage(lake, names, ["x", "x", None])
    assert lineage.runs.tolist() == [1, 1, 0]
    assert lineage.contents.tolist() == [1, 1, 0]
    assert lineage.derived == [
        Derived(0, names[1], "twin"),
        Derived(1, "elsewhere", "twin"),
        Derived(2, names[1], "twin"),
    ]


def test_groups_are_of_two_or_more() -> None:
    assert grouped(["a", None, "b", "a", None, "c", "c"]).tolist() == [1, 0, 0, 1, 0, 2, 2]
    assert grouped([None, None]).tolist() == [0, 0]
    assert grouped([]).dtype == np.uint32
