"""`peace gc`: one document, and a dry run that deletes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from peace_pipeline.cli.app import app
from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from tests.lakes import directory, write_network


def collected(lake: Lake, *options: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["gc", "--home", str(lake.root), "--json", *options])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_an_empty_lake_has_no_garbage(lake: Lake) -> None:
    assert collected(lake) == {"dry_run": False, "bytes": 0, "garbage": []}


def test_leftovers_are_listed_and_then_deleted(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp")
    crawl_zoo(lake, directory(zoo))
    (batch,) = lake.batches()
    left = lake.zoo(batch).parent / f".{batch}.parquet.abcd1234"
    left.write_bytes(b"half")
    listed = {"kind": "unfinished", "path": str(left), "bytes": 4}
    assert collected(lake)["garbage"] == []
    dry = collected(lake, "--older-than", "0", "--dry-run")
    assert (dry["dry_run"], listed in dry["garbage"], left.exists()) == (True, True, True)
    assert listed in collected(lake, "--older-than", "0")["garbage"]
    assert not left.exists()
