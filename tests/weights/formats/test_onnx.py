"""ONNX files: parts, data beside the model, and whatever is wrong with a file is one reason."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    FileChanged,
    ForbiddenPath,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.onnx import open_file
from peace_pipeline.weights.formats.onnx_layout import weights_of
from peace_pipeline.weights.formats.onnx_model import MAX_DEPTH, ModelParser
from peace_pipeline.weights.local_blob import local_blob
from tests.weights.formats.onnx_models import PRODUCTS, ROBUST, branch, initialiser, model, same, save
from tests.weights.reading import read_all, refusal


@given(
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    is_transposed=st.booleans(),
    block=st.integers(1, 99),
)
@ROBUST
def test_rows(rows: tuple[int, int], is_transposed: bool, block: int, tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(6, 5)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=0 if is_transposed else 1)
    path = save(
        tmp_path / "m.onnx", model([node], [initialiser("w", values.T if is_transposed else values)], ["x"])
    )
    start, stop = sorted(rows)
    with open_file(path, block) as file:
        part = file.read("w", (start, stop))
    assert torch.equal(part, torch.from_numpy(values[start:stop]))


def external(folder: Path, **changes: str) -> Path:
    """A model with two tensors in ``data/w.bin``, of which the first one's entry is changed."""
    content = model(
        [], [initialiser(name, np.full((4, 8), number, np.float32)) for number, name in enumerate("ab")]
    )
    (folder / "data").mkdir(exist_ok=True)
    onnx.save(content, folder / "m.onnx", save_as_external_data=True, location="data/w.bin", size_threshold=0)
    saved = onnx.load(folder / "m.onnx", load_external_data=False)
    for entry in saved.graph.initializer[0].external_data:
        entry.value = changes.get(entry.key, entry.value)
    return save(folder / "m.onnx", saved)


def test_external_data(tmp_path: Path) -> None:
    path = external(tmp_path)
    assert same(read_all(path), {"a": torch.zeros(4, 8), "b": torch.ones(4, 8)})
    with open_checkpoint([path]) as checkpoint:
        assert torch.equal(checkpoint._owner["b"].read("b", (1, 3)), torch.ones(2, 8))
        (tmp_path / "data/w.bin").write_bytes(bytes(4))
        with pytest.raises(FileChanged):
            checkpoint.read("a")


OUTSIDE = [
    "/etc/passwd",
    "../w.bin",
    "data/../../w.bin",
    "data/link.bin",
    "C:\\w.bin",
    "..\\w.bin",
    "data\\..\\w",
    "",
    ".",
    "data/\0",
]


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_stays_in_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    path = external(folder, location=location)
    (folder / "data/link.bin").symlink_to(tmp_path / "w.bin")
    refusal(path, ForbiddenPath)


def test_external_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCheckpoint, match="No such file"):
        read_all(external(tmp_path, location="other.bin"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ForbiddenPath, match="regular file"):
        read_all(external(tmp_path, location="pipe"))


@pytest.mark.parametrize("changes", [
    {"offset": "99999999999"}, {"offset": "-4"}, {"offset": "x"}, {"length": "12"}, {"length": "9" * 30},
    {"length": "9" * 9999}, {"offset": "64"},
])  # fmt: skip
def test_external_data_that_lies(changes: dict[str, str], tmp_path: Path) -> None:
    refusal(external(tmp_path, **changes), CorruptFile)


def test_one_place_under_two_names_is_one_tensor(tmp_path: Path) -> None:
    path = external(tmp_path)
    saved = onnx.load(path, load_external_data=False)
    first, second = saved.graph.initializer
    del second.external_data[:]
    second.external_data.extend(first.external_data)
    assert same(read_all(save(path, saved)), {"a": torch.zeros(4, 8)})
    second.dims[:] = [8, 4]
    assert "overlap" in refusal(save(path, saved), CorruptFile)


WEIGHT = initialiser("w", np.ones((2, 3), np.float32))


def changed(**fields: Any) -> Any:
    tensor = TensorProto()
    tensor.CopyFrom(WEIGHT)
    for name in fields:
        tensor.ClearField(name)
    tensor.MergeFrom(TensorProto(**fields))
    return model([], [tensor])


def nested(depth: int) -> Any:
    graph = helper.make_graph([], "g", [], [], [WEIGHT])
    for _ in range(depth):
        node = helper.make_node("Loop", [], [], body=graph)
        graph = helper.make_graph([node], "g", [], [])
    return model([helper.make_node("Loop", [], [], body=graph)], [])


def sparse() -> Any:
    content = model([], [])
    content.graph.sparse_initializer.add(values=WEIGHT)
    return content


def blocks() -> Any:
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=2)
    return model(
        [node], [initialiser("w", np.ones((4, 3), np.int8)), initialiser("s", np.ones((2, 3), np.float32))]
    )


def four_bits() -> Any:
    return model([], [helper.make_tensor("w", TensorProto.INT4, (2, 2), [1, 2, 3, 4])])


def halves(numbers: list[int]) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT16, dims=[3], int32_data=numbers)
    return model([], [tensor])


REFUSED = {
    "no graph": (b"", CorruptFile),
    "two graphs": (2 * changed().SerializeToString(), CorruptFile),
    "a size that it can't hold": (changed(dims=[2**40, 2**40]), CorruptFile),
    "an empty one that is huge": (changed(dims=[0, 2**62], raw_data=b""), CorruptFile),
    "a negative size": (changed(dims=[-2, -3]), CorruptFile),
    "too few values": (changed(dims=[2, 4]), CorruptFile),
    "too few bytes": (halves([1, 2]), CorruptFile),
    "too few numbers": (halves([1000, 1000]), CorruptFile),
    "two sets of values": (changed(float_data=[1.0]), CorruptFile),
    "values of another type": (changed(data_type=TensorProto.DOUBLE, raw_data=b"", float_data=[1.0]), CorruptFile),
    "an unknown type": (changed(data_type=99), UnsupportedFormat),
    "17 dimensions": (changed(dims=[1] * 17), ExcessiveSize),
    "a million dimensions": (changed(dims=[1] * 1_000_000), ExcessiveSize),
    "segments": (changed(segment=TensorProto.Segment(begin=0, end=1)), UnsupportedFormat),
    "one name twice": (model([], [WEIGHT, WEIGHT]), DuplicateTensor),
    "a long name": (changed(name="n" * 100_000), ExcessiveSize),
    "a long name of indices": (changed(name="n" * 2000, data_type=TensorProto.INT64, dims=[3]), ExcessiveSize),
    "a long name of a graph": (
        model([helper.make_node("If", [], [], "n" * 2000, body=helper.make_graph([], "g", [], []))], [WEIGHT]),
        ExcessiveSize,
    ),
    "sparse tensors": (sparse(), UnsupportedFormat),
    "graphs within graphs": (nested(MAX_DEPTH), ExcessiveSize),
    "blocks of factors": (blocks(), UnsupportedFormat),
    "four bits": (four_bits(), UnsupportedFormat),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    content, kind = REFUSED[case]
    refusal(save(tmp_path / "m.onnx", content), kind)


def test_copies_of_more_values_than_networks_have(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["w"], [f"{number}.weight"]) for number in range(4)]
    with local_blob(save(tmp_path / "m.onnx", model(nodes, [WEIGHT]))) as blob:
        graph = ModelParser(blob, no_file).parse()
        copied = 4 * math.prod(WEIGHT.dims)
        assert len(weights_of(graph, blob.name, max_copied=copied)[0]) == 5
        with pytest.raises(ExcessiveSize, match=r"m.onnx: copies of more than"):
            weights_of(graph, blob.name, max_copied=copied - 1)


def no_file(location: str) -> NoReturn:
    raise AssertionError(location)


def test_long_names_take_no_time(tmp_path: Path) -> None:
    outputs = [f"{number}{'weight' * 10_000}." for number in range(8)]
    nodes = [helper.make_node("Identity", ["w"], [name]) for name in outputs]
    path = save(tmp_path / "m.onnx", model(nodes, [WEIGHT]))
    started = time.process_time()
    assert read_all(path)
    assert time.process_time() - started < 5


SEEDS = [
    model(*branches) for branches in (
        (PRODUCTS["MatMul"], [WEIGHT]),
        ([helper.make_node("If", ["c"], ["y"], then_branch=branch(np.ones((2, 3), np.float32)))], [WEIGHT]),
        ([helper.make_node("DequantizeLinear", ["q", "s"], ["d"]), helper.make_node("MatMul", ["x", "d"], ["y"])],
         [initialiser("q", np.ones((4, 3), np.int8)), initialiser("s", np.ones(3, np.float32))]),
        ([helper.make_node("GRU", ["x", "w", "r", "b"], ["y"])],
         [initialiser("w", np.ones((1, 6, 3), np.float32)), initialiser("r", np.ones((1, 6, 2), np.float32)),
          helper.make_tensor("b", TensorProto.FLOAT16, (1, 12), [0.5] * 12)]),
    )
]  # fmt: skip


@ROBUST
@given(data=st.data())
def test_corrupt_bytes_are_never_another_exception(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)).SerializeToString())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=8)):
        content[place] = value
    with suppress(UnreadableCheckpoint):
        read_all(save(tmp_path / "m.onnx", bytes(content[: data.draw(st.integers(0, len(content)))])))


@ROBUST
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_files(cut: float, tmp_path: Path) -> None:
    content = SEEDS[0].SerializeToString(deterministic=True)
    graph = SEEDS[0].graph.ByteSize()
    path = save(tmp_path / "m.onnx", content[: int(cut * (content.index(b"\x3a") + graph))])
    refusal(path, CorruptFile)
