"""Which networks of the index are points, and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.atlas.export import facets, numbers
from peace_pipeline.atlas.points import read_points
from peace_pipeline.index.search import NoIndex
from peace_pipeline.lake import Lake
from tests.indexed import answered, filled, rows

__all__ = ["answered", "filled"]


def test_every_network_with_its_vector(answered: Lake) -> None:
    points = read_points(answered, 10, seed=0)
    assert len(points) == points.total == 3
    for row in rows(answered, "models"):
        place = points.model_ids.index(row["model_id"])
        vector = np.array(row["vector"])
        assert points.vectors[place] == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)
        assert points.known["architecture"][place].as_py() == row["architecture"]


def test_a_sample_depends_on_the_seed_alone(answered: Lake) -> None:
    everything = read_points(answered, 10, seed=0).model_ids
    assert read_points(answered, 2, seed=0).model_ids == everything[:2]
    assert len({tuple(read_points(answered, 10, seed).model_ids) for seed in range(8)}) > 1


def test_facets(answered: Lake) -> None:
    points = read_points(answered, 10, seed=0)
    names, codes = facets(points.known)
    run = {row["model_id"]: row["run_by"] for row in rows(answered, "models")}
    for name, code in zip(points.model_ids, codes["sense"], strict=True):
        assert names["sense"][code] == ("weights and responses" if run[name] else "weights alone")
    assert names["sense"] == ["weights and responses", "weights alone"], "most frequent first"
    assert set(names["architecture"]) == {"mlp", "cnn"}
    accuracies, parameters = numbers(points.known)
    assert parameters.tolist() == points.known["parameters"].to_pylist()
    assert len(accuracies) == 3


def test_an_empty_lake(lake: Lake) -> None:
    with pytest.raises(NoIndex, match="no index"):
        read_points(lake, 10, seed=0)
