"""The table of responses: what is written is read back, and each network without answers says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import CONSTANT, HEADLESS, NUMBERS, PROBES, VERSION
from peace_pipeline.responses.table import SCHEMA, answer_row, is_asked_alike, read_responses, why_silent
from peace_pipeline.stages.outcome import Outcome


def response(key: str, outputs: int) -> Response:
    logits = np.random.default_rng(outputs).standard_normal((PROBES, outputs)).astype(np.float32)
    return Response(key, NUMBERS, logits, VERSION, "torch", ("cat", "dog")[:outputs] or None)


def write(lake: Lake, batch: str, rows: Mapping[str, Response | str]) -> None:
    """A table of what networks answer, or of the reasons why they don't."""
    told: list[dict[str, Any]] = [
        Outcome(name, "r", found if isinstance(found, str) else None).as_row()
        | ({} if isinstance(found, str) else answer_row(found))
        for name, found in rows.items()
    ]
    write_parquet(pa.Table.from_pylist(told, schema=SCHEMA), lake.responses(batch))


def test_answers_are_read_back(lake: Lake) -> None:
    write(lake, "1", {"a": response("a", 2), "b": "too large", "c": response("c", 0)})
    assert is_asked_alike(lake.responses("1"))
    (found,) = read_responses(lake, "1").values()
    assert (found.key, found.labels, found.run_by) == ("a", ("cat", "dog"), "torch")
    assert np.abs(found.outputs - response("a", 2).outputs).max() < 2e-3
    assert read_responses(lake, "1", ["b"]) == read_responses(lake, "2") == {}


def test_a_network_without_answers_says_why(lake: Lake) -> None:
    write(lake, "1", {"a": "not now"})
    write(lake, "2", {"a": "too large", "b": response("b", 0), "c": response("c", 2)})
    assert [why_silent(lake, "2", name) for name in "abcd"] == ["too large", HEADLESS, CONSTANT, None]
    assert why_silent(lake, "1", "a") == "not now"
    assert why_silent(lake, "3", "a") is None
