"""`peace report` as a user types it."""

from __future__ import annotations

from pathlib import Path

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


def test_a_lake_without_networks(tmp_path: Path) -> None:
    answer = Workplace(tmp_path).peace("report", "retrieval", "--write", code=1)
    assert answer.err.startswith("peace: retrieval is not written: ")
    assert answer.err.count("\n") == 1
