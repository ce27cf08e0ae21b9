"""`peace report` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.evaluation import reports
from peace_pipeline.evaluation.reports import all_reports
from tests.pipeline import Workplace, own, place

__all__ = ["own", "place"]


def test_report(place: Workplace) -> None:
    (report,) = place.peace("report", "--json").json
    assert list(report) == ["name", "path", "created_at"]
    assert Path(place.peace("report", "retrieval").out.strip()).read_text().startswith("<!doctype html>")


def test_a_report_is_written_when_it_is_asked_for(own: Workplace) -> None:
    (before,) = own.peace("report", "--json").json
    (after,) = own.peace("report", "retrieval", "--write", "--json").json
    assert list(after) == ["name", "path", "created_at"]
    assert after["path"] == before["path"] == own.peace("report", "retrieval").out.strip()
    assert after["created_at"] > before["created_at"]
    assert "symmetry" in own.peace("report").out


def test_why_a_report_is_not_written(own: Workplace) -> None:
    answer = own.peace("report", "provenance", "--write", code=1)
    assert answer.err.startswith("peace: provenance is not written: no trained zoo")
    assert answer.err.count("\n") == 1


def test_all_reports_are_written_by_one_command_and_one_that_fails_stops_no_other(
    own: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of them, each in another way: the quick form of all is tested where they are."""
    few = {name: all_reports()[name] for name in ("anomaly", "provenance", "space")}
    monkeypatch.setattr(reports, "all_reports", lambda: few)
    (own.lake.root / "studies").write_text("in the way of what is trained for the report on anomalies")
    said = own.peace("report", "--all", "--write", "--quick", "--json", code=1)
    document = said.json
    states = {row["name"]: row["state"] for row in document["reports"]}
    assert states == {"anomaly": "failed", "provenance": "left out", "space": "written"}
    assert document["peak_memory_bytes"] > 50_000_000
    assert document["seconds"] >= max(row["seconds"] for row in document["reports"])
    reasons = {row["name"]: row["reason"] for row in document["reports"]}
    assert reasons["provenance"].startswith("no trained zoo")
    assert "provenance · left out · " in said.err
    assert "anomaly · failed · " in said.err


def test_a_quick_report_lies_beside_the_reports(own: Workplace) -> None:
    (quick,) = own.peace("report", "retrieval", "--write", "--quick", "--json").json
    (lasting,) = own.peace("report", "--json").json
    assert "peace report retrieval --write --quick" in Path(quick["path"]).read_text()
    assert "--quick" not in Path(lasting["path"]).read_text()
    assert (Path(quick["path"]).parents[1] / "index.html").exists()


@pytest.mark.parametrize(
    "words", [("--all",), ("--quick",), ("retrieval", "--all", "--write"), ("--write",), ("--open",)]
)
def test_what_does_not_go_together(place: Workplace, words: tuple[str, ...]) -> None:
    place.peace("report", *words, code=2)


def test_a_lake_without_networks(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    without_a_lake = place.peace("report", "retrieval", "--write", code=1).err
    place.lake.root.mkdir(exist_ok=True)
    of_an_empty_one = place.peace("report", "retrieval", "--write", code=1).err
    assert without_a_lake.startswith("peace: no lake in ")
    assert of_an_empty_one.startswith("peace: retrieval is not written: ")
    assert (without_a_lake.count("\n"), of_an_empty_one.count("\n")) == (1, 1)
