"""docs/formats.md tells what the registry reads, and each cell has its test."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.weights.formats.facts import FACTS
from peace_pipeline.weights.formats.registry import READERS
from tests.docs.formats_table import PAGE, TESTS, page

TESTS_AT = Path(__file__).parents[1]


def test_the_table_is_as_the_registry_says() -> None:
    assert FACTS.keys() == READERS.keys() == TESTS.keys()
    assert PAGE.read_text() == page(PAGE.read_text()), "python -m tests.docs.formats_table writes it anew"


@pytest.mark.parametrize("kind", FACTS)
def test_each_cell_has_a_test(kind: str) -> None:
    for cell, test in zip(FACTS[kind], TESTS[kind], strict=True):
        assert bool(cell) == bool(test)
        module, _, name = test.partition("::")
        if test:
            text = (TESTS_AT / module).read_text()
            assert "def test_" in text if name == "*" else f"def {name}(" in text
