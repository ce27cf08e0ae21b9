"""What the last linear layer of an ONNX graph reads is seen beside what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.runners.model import Model, Ready
from peace_pipeline.responses.running import Limits, ready
from peace_pipeline.weights.checkpoint import open_checkpoint
from tests.responses.runners.onnx_graphs import IDS, MATRIX, NUMBERS, TABLE, Values, graph
from tests.weights.formats.onnx_models import save


def hidden(content: Any, folder: Path, config: dict[str, Any] | None = None) -> np.ndarray | None:
    """What the last linear layer of a graph reads of its first 40 probes."""
    path = save(folder / "model.onnx", content)
    with open_checkpoint([path]) as checkpoint:
        opened = ready(Model("m", checkpoint, config or {}, path.parent), Limits())
    assert isinstance(opened, Ready)
    found = opened.ask([opened.network], probes(opened.spec, 0, 40)).hidden
    return None if found is None else found[0].numpy()


def head(value: str, *before: Any, op: str = "MatMul", weight: str = "w") -> Any:
    """A graph that ends with a linear layer which reads ``value`` of the nodes before."""
    nodes = [*before, helper.make_node(op, [value, weight], ["y"])]
    return graph(nodes, {"x": (NUMBERS, ["n", 4])}, {"y": (NUMBERS, None)}, w=MATRIX.T, v=MATRIX)


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_what_the_last_linear_layer_reads_is_seen(op: str, tmp_path: Path) -> None:
    x = probes(InputSpec("numbers", (4,)), 0, 40).numpy()
    before = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["a"]),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
    ]
    found = hidden(head("a", *before, op=op, weight="t"), tmp_path)
    assert found is not None
    assert np.allclose(found, np.tanh(x @ MATRIX.T), atol=1e-5), (
        "a matrix that is computed, of constants alone"
    )
    found = hidden(head("x", op=op), tmp_path)
    assert found is not None
    assert np.allclose(found, x), "of a single layer the inputs themselves"


def test_only_vectors_are_seen(tmp_path: Path) -> None:
    """Neither a matrix for each example, nor what attention multiplies."""
    steps = [
        helper.make_node("Reshape", ["x", "shape"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["h"]),
    ]
    mean = helper.make_node("ReduceMean", ["h", "axes"], ["y"], keepdims=0)
    inputs: Values = {"x": (NUMBERS, ["n", 8])}
    constants = {"shape": np.array([-1, 2, 4]), "axes": np.array([1]), "w": MATRIX.T}
    model = graph([*steps, mean], inputs, {"y": (NUMBERS, None)}, **constants)
    assert hidden(model, tmp_path) is None
    attention = [
        helper.make_node("Mul", ["x", "scale"], ["k"]),
        helper.make_node("Transpose", ["k"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["q"]),
        helper.make_node("MatMul", ["q", "x"], ["y"]),
    ]
    model = graph(attention, {"x": (NUMBERS, ["n", 4])}, {"y": (NUMBERS, None)}, scale=MATRIX[:1])
    assert hidden(model, tmp_path) is None


@pytest.mark.parametrize("batch", ["n", 7])
def test_a_layer_that_reads_a_sequence_is_seen_at_the_last_token(batch: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"]),
        helper.make_node("MatMul", ["e", "scale"], ["logits"]),
    ]
    inputs = {name: (IDS, [batch, "t"]) for name in ("input_ids", "attention_mask")}
    model = graph(nodes, inputs, {"logits": (NUMBERS, None)}, table=TABLE, scale=MATRIX.T)
    found = hidden(model, tmp_path, {"vocab_size": 50, "pad_token_id": 0, "cls_token_id": 1})
    ids = probes(InputSpec("tokens", (32,), vocabulary=50, padding=0, first=1), 0, 40).numpy()
    last = (ids != 0).sum(1) - 1
    assert found is not None
    assert np.allclose(found, TABLE[ids[np.arange(40), last]], atol=1e-6)


def test_a_value_that_is_an_output_already_is_seen(tmp_path: Path) -> None:
    model = head("a" * 300, helper.make_node("Tanh", ["x"], ["a" * 300]))
    expected = np.tanh(probes(InputSpec("numbers", (4,)), 0, 40).numpy())
    for outputs in (1, 2):
        found = hidden(model, tmp_path)
        assert found is not None
        assert np.allclose(found, expected, atol=1e-6)
        assert len(model.graph.output) == outputs
        model.graph.output.append(helper.make_tensor_value_info("a" * 300, NUMBERS, None))
