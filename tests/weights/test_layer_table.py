"""The layer table gives back what was written, model by model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from peace_pipeline.lake.tables import LAYERS
from peace_pipeline.weights.layer_table import ROW_GROUP_BYTES, LayerRow, LayerTableWriter, read_models

SHAPES = {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (2, 4, 3, 3)}


def tensors_of(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def rows_of(model_id: str, tensors: dict[str, np.ndarray]) -> Iterator[LayerRow]:
    for name, values in tensors.items():
        layer, parameter = name.split(".")
        yield LayerRow(
            model_id, "r", int(layer), f"l{layer}", "linear", parameter, "o", None, "float32", values, False
        )


def write(
    path: Path, models: dict[str, dict[str, np.ndarray]], row_group_bytes: int = ROW_GROUP_BYTES
) -> Path:
    with LayerTableWriter(path, row_group_bytes) as writer:
        for model_id, tensors in models.items():
            writer.write_model(rows_of(model_id, tensors))
    return path


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].shape == expected[name].shape and np.array_equal(found[name], expected[name])
        for name in expected
    )


MODELS = {f"directory:z/{name}": tensors_of(i) for i, name in enumerate(["b", "a", "ünï", "it's", "x" * 300])}


@pytest.mark.parametrize("buffer", [1, 60, 1 << 20])
def test_models_come_back_in_order(buffer: int, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", MODELS, buffer)
    found = list(read_models(path))
    assert [model_id for model_id, _ in found] == list(MODELS)
    assert all(same(tensors, MODELS[model_id]) for model_id, tensors in found)
    assert pq.ParquetFile(path).num_row_groups == {1: 15, 60: 10}.get(buffer, 5)


def test_only_the_wanted_models_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.parquet", MODELS)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, number: int, **options: object) -> object:
        read.append(number)
        return original(self, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    wanted = {"directory:z/a", "directory:z/it's", "directory:z/unknown"}
    found = dict(read_models(path, wanted))
    assert found.keys() == wanted - {"directory:z/unknown"}
    assert all(same(tensors, MODELS[model_id]) for model_id, tensors in found.items())
    assert read == [1, 3]
    assert list(read_models(path, set())) == []


@pytest.mark.parametrize("buffer", [1, 1 << 20])
def test_a_model_that_fails_halfway_leaves_the_others(buffer: int, tmp_path: Path) -> None:
    def failing() -> Iterator[LayerRow]:
        yield next(rows_of("bad", tensors_of(9)))
        raise ValueError("corrupt")

    with LayerTableWriter(tmp_path / "t.parquet", buffer) as writer:
        writer.write_model(rows_of("first", tensors_of(1)))
        with pytest.raises(ValueError, match="corrupt"):
            writer.write_model(failing())
        writer.write_model(rows_of("last", tensors_of(2)))
    found = dict(read_models(tmp_path / "t.parquet", {"first", "last"}))
    assert same(found["first"], tensors_of(1))
    assert same(found["last"], tensors_of(2))
    if buffer > 1:
        assert [model_id for model_id, _ in read_models(tmp_path / "t.parquet")] == ["first", "last"]


def test_an_empty_table(tmp_path: Path) -> None:
    assert list(read_models(write(tmp_path / "t.parquet", {}))) == []
    assert pq.read_schema(tmp_path / "t.parquet").equals(LAYERS.schema)


def test_values_are_stored_as_they_are(tmp_path: Path) -> None:
    extreme = np.array([[0.0, -0.0, 1e-45, 3.4e38]], np.float32)
    ((_, found),) = read_models(write(tmp_path / "t.parquet", {"m": {"0.weight": extreme}}))
    assert found["0.weight"].tobytes() == extreme.tobytes()
