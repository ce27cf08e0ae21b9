"""Checkpoints that are asked for by name: each has a vector or a reason, in the order asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.checkpoints import embed_checkpoints, write_embedded
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER
from tests.encoder.encoders import encoder_of
from tests.lakes import write_model, write_network
from tests.networks import module_of


@pytest.fixture
def names(lake: Lake, zoo: Path) -> list[str]:
    """Of a sound network, one whose vector overflows, nothing, and a sound one; the lake has an encoder."""
    store.save(lake, encoder_of(), {})
    state = module_of("mlp", 5, torch.float32).state_dict()
    huge = write_model(zoo / "huge", {name: value * 1e30 for name, value in state.items()})
    return [
        str(path)
        for path in (write_network(zoo / "a", "mlp"), huge, zoo / "nothing", write_network(zoo / "b", "cnn"))
    ]


def test_one_that_cannot_be_embedded_stops_no_other(lake: Lake, names: list[str]) -> None:
    steps: list[tuple[int, int]] = []
    rows = list(embed_checkpoints(lake, names, progress=lambda done, total: steps.append((done, total))))
    assert [row.path for row in rows] == names
    assert [row.vector is not None for row in rows] == [True, False, False, True]
    assert "its vector is not finite" in (rows[1].error or "")
    assert rows[2].error == "no such file or folder"
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert rows[1].as_dict().keys() == {"path", "encoder_version", "error"}
    assert rows[0].as_dict().keys() == vars(rows[0]).keys() - {"error", "embedding", "not_run"}


def test_what_their_wirings_assume_is_said(lake: Lake, names: list[str], tmp_path: Path) -> None:
    unnamed = write_model(tmp_path / "unnamed", module_of("cnn", 0, torch.float32).state_dict(), {})
    ours, guessed = embed_checkpoints(lake, [names[3], str(unnamed)])
    assert (ours.as_dict()["wiring"], ours.as_dict()["assumes"]) == ("chain", ())
    assert "plain chain" in str(ours.reason)
    assert (guessed.wiring, guessed.assumes) == ("chain", (ONE_AFTER_THE_OTHER,))
    write_embedded([ours, guessed], tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")["assumes"].to_pylist()
    assert written == [[], [ONE_AFTER_THE_OTHER]]


def test_they_are_written_with_their_reasons(lake: Lake, names: list[str], tmp_path: Path) -> None:
    rows = list(embed_checkpoints(lake, names, dtype="float64"))
    write_embedded(rows, tmp_path / "out.parquet", "float64")
    written = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["vector"] is None for row in written] == [row.error is not None for row in rows]
    assert np.linalg.norm(written[0]["vector"]) == pytest.approx(1, abs=1e-12)
