"""ONNX graphs, run by onnxruntime in a confined process: they answer as they are, and harm nobody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import processors

from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.runners.model import Model
from peace_pipeline.responses.running import Limits, ready, run
from peace_pipeline.responses.sentences import sentences
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import ForbiddenPath
from tests.responses.runners.disguises import assert_alike, disguised
from tests.responses.runners.onnx_graphs import (
    IDS,
    KERNEL,
    MATRIX,
    NUMBERS,
    RANDOM,
    TABLE,
    Values,
    graph,
    product,
    tokens,
)
from tests.responses.wordpieces import wordpiece
from tests.weights.formats.hdf5_files import children
from tests.weights.formats.onnx_models import save


def asked(path: Path, config: dict[str, Any] | None = None) -> Response | NotRun:
    limits = Limits()
    with open_checkpoint([path]) as checkpoint:
        opened = ready(Model("m", checkpoint, config or {}, path.parent), limits)
    if isinstance(opened, NotRun):
        return opened
    (found,) = run([opened], limits)
    return found


def answers(content: Any, folder: Path, config: dict[str, Any] | None = None) -> np.ndarray:
    found = asked(save(folder / "model.onnx", content), config)
    assert isinstance(found, Response), found
    assert found.run_by == "onnx"
    return found.outputs


def reason(content: Any, folder: Path, config: dict[str, Any] | None = None) -> str:
    found = asked(save(folder / "model.onnx", content), config)
    assert isinstance(found, NotRun)
    return found.reason


@settings(max_examples=3)
@given(seed=st.integers(0, 2**31))
def test_no_symmetry_changes_an_answer(seed: int, tmp_path: Path) -> None:
    chance = np.random.default_rng(seed)
    shapes = {"first.weight": (8, 6), "first.bias": (8,), "second.weight": (4, 8), "second.bias": (4,)}
    tensors = {name: chance.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    ways = (["x", "first.weight", "first.bias"], ["h"]), (["r", "second.weight", "second.bias"], ["y"])
    first, second = (helper.make_node("Gemm", *way, transB=1) for way in ways)
    nodes = [first, helper.make_node("Relu", ["h"], ["r"]), second]
    (tmp_path / "config.json").write_text('{"hidden_act": "relu"}')
    one = answers(graph(nodes, {"x": (NUMBERS, ["n", 6])}, {"y": (NUMBERS, None)}, **tensors), tmp_path)
    other = asked(disguised(tmp_path / "model.onnx", seed, assume=True))
    assert isinstance(other, Response), other
    assert_alike(torch.from_numpy(one), torch.from_numpy(other.outputs))


@pytest.mark.parametrize("batch", ["n", None, 1, 5])
def test_a_graph_answers_as_it_computes(batch: Any, tmp_path: Path) -> None:
    expected = probes(InputSpec("numbers", (6,))).numpy() @ MATRIX
    assert np.allclose(answers(product(batch), tmp_path), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ([3, 8, 8], (3, 8, 8)),
        (["c", 8, "w"], (3, 8, 8)),
        ([3, "h", "w"], (3, 64, 64)),
    ],
)
def test_open_sizes_are_small(sizes: list[Any], shape: tuple[int, ...], tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"])]
    model = graph(nodes, {"x": (NUMBERS, ["n", *sizes])}, {"y": (NUMBERS, None)}, k=KERNEL)
    inputs = probes(InputSpec("numbers", shape))
    expected = torch.conv2d(inputs, torch.from_numpy(KERNEL)).mean((2, 3))
    assert np.allclose(answers(model, tmp_path), expected, atol=1e-4)


def test_channels_may_be_last(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "k"], ["y"]),
    ]
    model = graph(nodes, {"x": (NUMBERS, ["n", 8, 8, 3])}, {"y": (NUMBERS, None)}, k=KERNEL)
    expected = torch.conv2d(probes(InputSpec("numbers", (3, 8, 8))), torch.from_numpy(KERNEL)).mean((2, 3))
    assert np.allclose(answers(model, tmp_path), expected, atol=1e-4)


def test_steps_may_be_open(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMean", ["h", "axes"], ["y"], keepdims=0),
    ]
    model = graph(
        nodes, {"x": (NUMBERS, ["n", "t", 6])}, {"y": (NUMBERS, None)}, w=MATRIX, axes=np.array([1])
    )
    expected = (probes(InputSpec("numbers", (32, 6), channels_first=False)).numpy() @ MATRIX).mean(1)
    assert np.allclose(answers(model, tmp_path), expected, atol=1e-5)


def test_probabilities_are_told_as_logits(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], ["y"])]
    model = graph(nodes, {"x": (NUMBERS, ["n", 6])}, {"y": (NUMBERS, None)}, w=MATRIX)
    found, plain = answers(model, tmp_path), answers(product(), tmp_path)
    assert np.allclose(found, torch.log_softmax(torch.from_numpy(plain), 1), atol=1e-4)


def test_token_sequences_are_read_at_their_last_token(tmp_path: Path) -> None:
    found = answers(tokens(), tmp_path, {"vocab_size": 50, "pad_token_id": 0, "cls_token_id": 1})
    ids = probes(InputSpec("tokens", (32,), vocabulary=50, padding=0, first=1)).numpy()
    last = (ids != 0).sum(1) - 1
    assert np.allclose(found, TABLE[ids[np.arange(len(ids)), last]], atol=1e-6)


def test_sentences_are_told_in_the_tokens_of_the_model(tmp_path: Path) -> None:
    words, table = wordpiece(300), RANDOM.standard_normal((300, 4)).astype(np.float32)
    words.post_processor = processors.Sequence([])
    words.save(str(tmp_path / "tokenizer.json"))
    words.enable_truncation(32)
    expected = table[[words.encode(sentence).ids[-1] for sentence in sentences()]]
    assert len(np.unique(expected, axis=0)) > 10
    assert np.allclose(answers(tokens(table), tmp_path), expected, atol=1e-6)


def test_the_vocabulary_is_that_of_the_table(tmp_path: Path) -> None:
    ids = probes(InputSpec("tokens", (32,), vocabulary=50)).numpy()
    last = (ids != 0).sum(1) - 1
    assert np.allclose(answers(tokens(), tmp_path), TABLE[ids[np.arange(len(ids)), last]], atol=1e-6)


def external(folder: Path, location: str = "weights.bin") -> Path:
    onnx.save(
        product(), folder / "model.onnx", save_as_external_data=True, location=location, size_threshold=0
    )
    return folder / "model.onnx"


def test_external_data_is_read(tmp_path: Path) -> None:
    found = asked(external(tmp_path))
    assert isinstance(found, Response), found
    assert np.allclose(found.outputs, answers(product(), tmp_path), atol=1e-5)


def test_external_data_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(MATRIX.tobytes())
    model = product()
    model.graph.initializer.append(external_tensor("v", str(secret)))
    path = save(tmp_path / "m" / "model.onnx", model)
    with pytest.raises(ForbiddenPath, match="outside its folder"):
        asked(path)


def external_tensor(name: str, location: str) -> Any:
    tensor = TensorProto(name=name, data_type=NUMBERS, dims=MATRIX.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_a_function_s_external_data_is_not_opened(tmp_path: Path) -> None:
    """Functions are passed over when a checkpoint is opened, and onnxruntime looks into the working directory."""
    (tmp_path / "m").mkdir()
    (tmp_path / "secret.bin").write_bytes(MATRIX.tobytes())
    inner = [
        helper.make_node("Constant", [], ["v"], value=external_tensor("v", "secret.bin")),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    function = helper.make_function("mine", "F", ["x"], ["y"], inner, [helper.make_opsetid("", 21)])
    nodes = [
        helper.make_node("F", ["x"], ["z"], domain="mine"),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["z", "h"], ["y"]),
    ]
    model = graph(nodes, {"x": (NUMBERS, ["n", 6])}, {"y": (NUMBERS, None)}, w=MATRIX)
    model.functions.append(function)
    said = reason_elsewhere(save(tmp_path / "m" / "model.onnx", model), "", tmp_path)
    assert "SystemError : 24" in said, "too many open files: it may open none"


def reason_elsewhere(path: Path, first: str, folder: Path) -> str:
    """Why a process of its own in a folder, which does something ``first``, can't run a model."""
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
{first}
from tests.responses.runners.test_onnx import asked
print(asked(Path({str(path)!r})).reason)
"""
    arguments = [sys.executable, "-c", program]
    return subprocess.run(
        arguments, capture_output=True, text=True, check=True, timeout=100, cwd=folder
    ).stdout


def endless(iterations: int) -> Any:
    """Multiplies a large matrix with itself, again and again."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["big_in", "big_in"], ["big_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", IDS, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("big_in", NUMBERS, [None, None]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("big_out", NUMBERS, [None, None]),
        ],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Transpose", ["h"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["t", "h"], ["square"]),
        helper.make_node("Loop", ["count", "go", "square"], ["y"], body=body),
    ]
    return graph(
        nodes,
        {"x": (NUMBERS, ["n", 6])},
        {"y": (NUMBERS, None)},
        w=RANDOM.standard_normal((6, 400)).astype(np.float32),
        count=np.array(iterations),
        go=np.array(True),
    )


def enormous() -> Any:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ConstantOfShape", ["sizes"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["h", "sum"], ["y"]),
    ]
    return graph(
        nodes,
        {"x": (NUMBERS, ["n", 6])},
        {"y": (NUMBERS, None)},
        w=MATRIX,
        sizes=np.array([1 << 17, 1 << 17]),
    )


def wide(size: int) -> Any:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["h"]),
        helper.make_node("Mul", ["h", "w"], ["y"]),
    ]
    inputs: Values = {"x": (NUMBERS, ["n", size])}
    return graph(nodes, inputs, {"y": (NUMBERS, None)}, w=MATRIX[:1], axes=np.array([1]))


def two_inputs() -> Any:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "z"], ["y"])]
    inputs: Values = {"x": (NUMBERS, ["n", 6]), "z": (NUMBERS, [])}
    return graph(nodes, inputs, {"y": (NUMBERS, None)}, w=MATRIX)


def one_number() -> Any:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceSum", ["h"], ["y"], keepdims=0),
    ]
    return graph(nodes, {"x": (NUMBERS, ["n", 6])}, {"y": (NUMBERS, None)}, w=MATRIX)


def foreign_operator() -> Any:
    nodes = [helper.make_node("Evil", ["x", "w"], ["y"], domain="mine")]
    return graph(nodes, {"x": (NUMBERS, ["n", 6])}, {"y": (NUMBERS, None)}, w=MATRIX)


UNRUNNABLE = {
    "shapes that don't fit": (product(size=7), "Incompatible dimensions"),
    "a huge input": (wide(10**7), "takes inputs of shape"),
    "a huge batch": (product(batch=10**7), "takes inputs of shape"),
    "more memory than there may be": (enormous(), "bad_alloc"),
    "an operator of its own": (foreign_operator(), "Evil"),
    "an input that nobody knows": (two_inputs(), "takes x .*, z"),
    "an input beside tokens": (tokens(state=(NUMBERS, [1])), "takes state beside input_ids"),
    "one answer to all inputs": (one_number(), "answers with"),
    "weights that are no numbers": (product(w=np.full_like(MATRIX, np.nan)), "not finite"),
}


@pytest.mark.parametrize("name", UNRUNNABLE)
def test_what_can_t_be_run_is_a_reason(name: str, tmp_path: Path) -> None:
    model, said = UNRUNNABLE[name]
    assert re.search(said, found := reason(model, tmp_path)), found


def test_a_batch_goes_on_after_a_process_that_died(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    good = save(tmp_path / "good.onnx", product())
    bad = save(tmp_path / "bad" / "model.onnx", product(batch=1))
    with open_checkpoint([good]) as one, open_checkpoint([bad]) as other:
        opened = [
            ready(Model(name, each, {}, tmp_path), Limits()) for name, each in (("a", one), ("b", other))
        ]
    (process,) = (each for each in children(os.getpid()) if b"onnx_helper" in command(each))
    first, second = children(process)
    os.kill(second, 9)
    found = {each.key: each for each in run(opened, Limits())}
    assert isinstance(found["a"], Response)
    assert found["b"] == NotRun("b", "onnxruntime failed on it, or took too much memory or time")
    assert first
    assert isinstance(asked(bad), Response)


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_its_process_can_open_nothing_and_is_bounded(tmp_path: Path) -> None:
    with open_checkpoint([save(tmp_path / "model.onnx", product())]) as checkpoint:
        opened = ready(Model("m", checkpoint, {}, tmp_path), Limits())
    (process,) = (each for each in children(os.getpid()) if b"onnx_helper" in command(each))
    (own,) = children(process)
    limits = Path(f"/proc/{own}/limits").read_text()
    found = {line[:25].strip(): line.split()[-3] for line in limits.splitlines()}
    assert found["Max open files"] == found["Max file size"] == found["Max core file size"] == "0"
    assert 1 << 31 < int(found["Max address space"]) < 1 << 33
    assert not isinstance(opened, NotRun)


def test_one_that_computes_for_ever_is_ended(tmp_path: Path) -> None:
    """By a helper that gives it less time."""
    (tmp_path / "hasty.py").write_text(
        "from peace_pipeline.responses.runners import onnx_helper\n"
        "onnx_helper.MAX_SECONDS = 1\n"
        "onnx_helper.main()\n"
    )
    first = f"""
from peace_pipeline.confinement import Helper
from peace_pipeline.responses.runners import onnx
sys.path.append({str(tmp_path)!r})
onnx._helper = Helper("hasty")
"""
    said = reason_elsewhere(save(tmp_path / "model.onnx", endless(1 << 40)), first, tmp_path)
    assert "took too much memory or time" in said


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", product())
    assert "peace-pipeline[onnx]" in reason_elsewhere(path, "sys.modules['onnxruntime'] = None", tmp_path)
