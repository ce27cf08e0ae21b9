"""Whoever listens is told how far work has come; lines are said now and then."""

from __future__ import annotations

import time

from peace_pipeline.progress import in_lines, listening, track


def test_nobody_is_told_unless_somebody_listens() -> None:
    asked = []
    assert track("work") is None
    with listening(lambda description: asked.append(description) or in_lines(description, print)):
        assert track("work")
    assert asked == ["work"]
    assert track("work") is None


def test_lines_are_said_now_and_then() -> None:
    said: list[str] = []
    report = in_lines("Training", said.append, every=0.2)
    ended = time.monotonic() + 1
    while time.monotonic() < ended:
        report(3, 10, "loss 1.00")
    assert 2 <= len(said) <= 5
    assert set(said) == {"Training · 3 of 10 · loss 1.00"}


def test_short_work_says_nothing_but_what_it_waits_for() -> None:
    said: list[str] = []
    report = in_lines("Training", said.append)
    for done, total, note in ((0, 0, "waiting"), (0, 0, "waiting"), (1, 2, ""), (2, 0, "")):
        report(done, total, note)
    assert said == ["Training · waiting"]
