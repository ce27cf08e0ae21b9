"""Tables: what goes where there is little room, and what is said of it."""

from __future__ import annotations

import pytest

from peace_pipeline.cli.table import Column, cell, facts, note, shortened, table

LONG = "packages:admet-ai/admet_ai/resources/models/admet_classification/model_{}.pt"
COLUMNS = [
    Column("rank", "number"),
    Column("model_id", "id"),
    Column("similarity", "number"),
    Column("task", optional=True),
    Column("license", optional=True),
]
ROWS = [
    (1, LONG.format(0), 0.98765, "image-classification", "mit"),
    (2, LONG.format(1), 0.5, "image-classification", None),
    (10, "org/name", -0.25, "text-generation", "apache-2.0"),
]


def lines(width: int | None, rows: list = ROWS, columns: list[Column] = COLUMNS) -> list[str]:
    return [str(line) for line in table("Nearest", columns, rows, width)]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    shown = lines(width)
    assert max(map(len, shown)) <= width
    assert all(LONG.format(number)[-8:] in shown[2 + number] for number in range(2)), (
        "the end tells ids apart"
    )


def test_without_a_width_everything_is_whole() -> None:
    shown = lines(None)
    assert all(LONG.format(number) in shown[2 + number] for number in range(2))
    assert "license" in shown[1]
    assert "wide" not in "".join(shown)


def test_what_there_is_no_room_for_is_named() -> None:
    assert lines(80)[-1] == "  without license; model_id, task shortened: --wide shows all"
    assert lines(120)[-1] == "  model_id, task shortened: --wide shows all"


def test_what_is_the_same_of_all_rows_is_said_once_and_what_is_empty_never() -> None:
    rows = [(rank, name, similarity, "image-classification", None) for rank, name, similarity, *_ in ROWS]
    shown = lines(None, rows)
    assert shown[1].split() == ["rank", "model_id", "similarity"]
    assert shown[-1] == "  all: task image-classification"
    (only,) = [line for line in lines(None, rows[:1]) if LONG.format(0) in line]
    assert "image-classification" in only, "of one row all is said"


def test_ranks_and_similarities_stay_where_all_are_equal() -> None:
    rows = [(1, "a", 1.0, None, None), (1, "b", 1.0, None, None)]
    assert lines(80, rows)[1].split() == ["rank", "model_id", "similarity"]


def test_reasons_break_into_lines() -> None:
    columns = [Column("model_id", "id"), Column("reason", "prose")]
    shown = lines(60, [("org/name", "word " * 30)], columns)
    assert len(shown) > 4
    assert max(map(len, shown)) <= 60
    assert len(lines(None, [("org/name", "word " * 30)], columns)) == 3


def test_cells() -> None:
    assert [cell(value) for value in (None, 0.12345, 1234567, ["a", "b"], True)] == [
        "", "0.1235", "1,234,567", "a, b", "True"
    ]  # fmt: skip
    assert cell("a\x1b[31m") == "a\\x1b[31m"
    assert cell(["\x07"]) == "\\x07"


def test_ids_lose_their_middle() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "abc…hij"


def test_facts() -> None:
    found = [str(line) for line in facts([("task", "x " * 60), ("license", None), ("tags", [])], 40)]
    assert max(map(len, found)) <= 40
    assert found[0].startswith("  task  x x")
    assert "license" not in "".join(found)
    path = "/a-very/long-path/" * 8
    assert path in "".join(str(line) for line in facts([("where", path)], 40)), (
        "what is copied is never broken"
    )


def test_notes_stand_in_the_width_that_there_is() -> None:
    assert max(len(line) for line in note("word " * 40, 30)) <= 30
    assert [str(line) for line in note("word " * 3)] == ["  word word word "]
