"""Checkpoints: every format reads what was written, and whatever is wrong is one reason, never code that runs."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.weights.errors import UnreadableCheckpoint

STATE = {"a.weight": torch.arange(6.0).view(3, 2), "a.bias": torch.ones(3), "steps": torch.tensor(4)}
ROBUST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_all(*paths: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint(paths) as checkpoint:
        return {name: checkpoint.read(name, None).clone() for name in checkpoint.tensors}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)


def refusal(*paths: Path) -> str:
    with pytest.raises(UnreadableCheckpoint) as error:
        read_all(*paths)
    return str(error.value)


def written(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def in_safetensors(path: Path, state: dict[str, torch.Tensor] = STATE) -> Path:
    save_file(state, path)
    return path


def test_safetensors(tmp_path: Path) -> None:
    assert same(read_all(in_safetensors(tmp_path / "m.safetensors")), STATE)


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_floating_type_is_read(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    state = {"w": torch.tensor([[0.5, -2.0], [1.0, 0.0]]).to(dtype)}
    path = tmp_path / f"m.{suffix}"
    written(path, state) if suffix == "pt" else in_safetensors(path, state)
    with open_checkpoint([path]) as checkpoint:
        assert checkpoint.tensors["w"].dtype == str(dtype).removeprefix("torch.")
        assert checkpoint.parameters == 4
        assert torch.equal(checkpoint.read("w"), state["w"].float())
        assert checkpoint.read("w", torch.float64).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    state = {"good": torch.ones(2), "bad": torch.tensor([1.0, value]).to(dtype)}
    assert "'bad' holds values that are not finite" in refusal(
        in_safetensors(tmp_path / "m.safetensors", state)
    )
    assert "'bad' holds values that are not finite" in refusal(written(tmp_path / "m.pt", state))


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    first = in_safetensors(tmp_path / "model-00001-of-00002.safetensors", {"a": torch.ones(2)})
    second = in_safetensors(tmp_path / "model-00002-of-00002.safetensors", {"b": torch.zeros(3)})
    assert same(read_all(first, second), {"a": torch.ones(2), "b": torch.zeros(3)})
    in_safetensors(second, {"a": torch.zeros(3)})
    assert "'a' is there twice" in refusal(first, second)


def test_a_shard_stands_for_the_whole_and_an_index_for_all_its_tensors(tmp_path: Path) -> None:
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    first = in_safetensors(tmp_path / names[0], {"a": torch.ones(2)})
    with pytest.raises(UnreadableCheckpoint, match="1 of 2 shards"):
        weight_files(first)
    second = in_safetensors(tmp_path / names[1], {"b": torch.zeros(3)})
    assert weight_files(first) == weight_files(second) == weight_files(tmp_path) == [first, second]
    index = {"weight_map": {"a": names[0], "b": names[1], "c": names[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "it names a tensor 'c'" in refusal(first, second)


@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_safetensors(cut: float, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    content = save(STATE)
    path.write_bytes(content[: int(cut * len(content))])
    assert "not a whole safetensors file" in refusal(path)


def header(**entries: Any) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


F32 = {"dtype": "F32"}
LIES = {
    "offsets past the end": header(w={**F32, "shape": [4], "data_offsets": [0, 16]}) + bytes(8),
    "shape of another size": header(w={**F32, "shape": [5], "data_offsets": [0, 16]}) + bytes(16),
    "overflowing shape": header(w={**F32, "shape": [2**40, 2**40], "data_offsets": [0, 16]}) + bytes(16),
    "overlap": header(
        a={**F32, "shape": [4], "data_offsets": [0, 16]}, b={**F32, "shape": [4], "data_offsets": [8, 24]}
    )
    + bytes(24),
    "unknown dtype": header(w={"dtype": "F33", "shape": [4], "data_offsets": [0, 16]}) + bytes(16),
    "trailing bytes": header(w={**F32, "shape": [4], "data_offsets": [0, 16]}) + bytes(99),
    "huge header": struct.pack("<Q", 2**60) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
    "empty file": b"",
}


@pytest.mark.parametrize("case", LIES)
def test_safetensors_headers_that_lie(case: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(LIES[case])
    assert "m.safetensors" in refusal(path)


@pytest.mark.parametrize("name", ["m.tflite"])
def test_formats_that_are_not_read_yet(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert "not read" in refusal(tmp_path / name)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("text")
    assert refusal(tmp_path / "m.txt") == "m.txt: not a weight file"
    assert "m.pt" in refusal(tmp_path / "m.pt")
    assert "m.safetensors" in refusal(tmp_path / "m.safetensors")
    assert refusal() == "no floating-point tensors"


@pytest.mark.parametrize("suffix", ["pt", "bin", "safetensors"])
@ROBUST
@given(content=st.binary(max_size=200))
def test_random_bytes_are_unreadable(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_bytes(content)
    assert refusal(path)


def test_a_name_of_two_lines_is_a_reason_of_one(tmp_path: Path) -> None:
    (tmp_path / "two\nlines.safetensors").write_bytes(b"")
    for name in ("two\nlines.safetensors", "none\nthere.safetensors"):
        assert "\n" not in refusal(tmp_path / name)
