"""`peace report` as a user types it."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline import Workplace, place

__all__ = ["place"]


def test_report(place: Workplace) -> None:
    (report,) = place.peace("report", "--json").json
    assert list(report) == ["name", "path", "created_at"]
    assert Path(place.peace("report", "retrieval").out.strip()).read_text().startswith("<!doctype html>")
