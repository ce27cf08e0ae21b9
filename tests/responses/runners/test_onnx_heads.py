"""What the last linear layer of an ONNX graph reads is seen beside what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.examples import Examples
from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.runners.model import Model, Ready
from peace_pipeline.responses.running import Limits, features, ready, run
from peace_pipeline.weights.checkpoint import open_checkpoint
from tests.responses.runners.onnx_graphs import IDS, MATRIX, NUMBERS, RANDOM, TABLE, Values, graph
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


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def read_by(*nodes: Any, size: int = 8, output: str = "y", **constants: np.ndarray) -> Any:
    """A graph on ``size`` numbers."""
    inputs: Values = {"x": (NUMBERS, ["n", size])}
    return graph(list(nodes), inputs, {output: (NUMBERS, None)}, **constants)


def read_by_tokens(*nodes: Any, batch: tuple[Any, Any] = ("n", "t"), **constants: np.ndarray) -> Any:
    """A graph whose nodes read the vectors ``e`` of tokens."""
    inputs: Values = {name: (IDS, [*batch]) for name in ("input_ids", "attention_mask")}
    tokens = node("Gather", "table input_ids", "e")
    constants |= {"table": TABLE, "w": MATRIX.T, "zero": np.array([0]), "one": np.array([1])}
    return graph([tokens, *nodes], inputs, {"logits": (NUMBERS, None)}, **constants)


WIDE = RANDOM.standard_normal((8, 8)).astype(np.float32)
OTHERS = {
    "several rows of each": read_by(
        node("Reshape", "x parts", "s"),
        node("MatMul", "s w", "h"),
        node("Reshape", "h whole"),
        parts=np.array([-1, 4]),
        whole=np.array([-1, 12]),
        w=MATRIX.T,
    ),
    "a matrix of each": read_by(
        node("Reshape", "x parts", "s"),
        node("MatMul", "s w", "h"),
        node("ReduceMean", "h one", keepdims=0),
        parts=np.array([-1, 2, 4]),
        one=np.array([1]),
        w=MATRIX.T,
    ),
    "as many rows however many there are": read_by(
        node("ReduceMean", "x zero", "m"),
        node("Tile", "m times", "k"),
        node("MatMul", "k w", "q"),
        node("ReduceMean", "q zero", "a"),
        node("Add", "x a"),
        zero=np.array([0]),
        times=np.array([16, 1]),
        w=WIDE,
    ),
    "a column of each": read_by(
        node("Transpose", "x", "t", perm=[1, 0]), node("Gemm", "t w", transA=1), w=MATRIX, size=6
    ),
    "too many values of each": read_by(
        node("Tile", "x times", "k"),
        node("MatMul", "k w"),
        times=np.array([1, 5000]),
        w=RANDOM.standard_normal((40_000, 2)).astype(np.float32),
    ),
    "infinite values": read_by(
        node("Div", "x zero", "a"),
        node("MatMul", "a w", "b"),
        node("IsInf", "b", "i"),
        node("Where", "i x x"),
        zero=np.array(0, np.float32),
        w=WIDE,
    ),
    "attention": read_by(
        node("Mul", "x scale", "k"),
        node("Transpose", "k", "t", perm=[1, 0]),
        node("MatMul", "x t", "q"),
        node("MatMul", "q x"),
        scale=MATRIX[:1],
        size=4,
    ),
    "a layer before a convolution": read_by(
        node("MatMul", "x w", "h"),
        node("Unsqueeze", "h one", "u"),
        node("Conv", "u k", "c"),
        node("Flatten", "c"),
        one=np.array([1]),
        w=WIDE,
        k=RANDOM.standard_normal((2, 1, 3)).astype(np.float32),
    ),
    **{
        f"a sequence first, of {batch}": read_by_tokens(
            node("Transpose", "e", "s", perm=[1, 0, 2]),
            node("MatMul", "s w", "q"),
            node("Transpose", "q", "logits", perm=[1, 0, 2]),
            batch=batch,
        )
        for batch in (("n", "t"), ("n", 24), (32, "t"), (24, 24))
    },
    "a gate": read_by(node("MatMul", "x w", "h"), node("Sigmoid", "h", "g"), node("Mul", "g x"), w=WIDE),
    "a product that is called otherwise": read_by(
        node("MatMul", "x w", "h"),
        node("Unsqueeze", "h last", "u"),
        node("Mul", "u w", "p"),
        node("ReduceSum", "p one", keepdims=0),
        last=np.array([2]),
        one=np.array([1]),
        w=WIDE,
    ),
    "the first token, as a sequence": read_by_tokens(
        node("Slice", "e zero one one", "s"), node("MatMul", "s w", "q"), node("Squeeze", "q one", "logits")
    ),
    "all tokens in one row": read_by_tokens(
        node("Reshape", "e whole", "s"),
        node("MatMul", "s w", "q"),
        node("Reshape", "q parts", "z"),
        node("ReduceMean", "z one", "logits", keepdims=0),
        whole=np.array([1, -1, 4]),
        parts=np.array([-1, 32, 6]),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_vector_of_each_example_is_not_taken_for_one(name: str, tmp_path: Path) -> None:
    """Then the answers are as good as they were."""
    config = {"vocab_size": 50, "pad_token_id": 0, "cls_token_id": 1}
    path = save(tmp_path / "model.onnx", OTHERS[name])
    with open_checkpoint([path]) as checkpoint:
        opened = ready(Model("m", checkpoint, config, tmp_path), Limits())
    assert isinstance(opened, Ready)
    (found,) = run([opened], Limits())
    assert isinstance(found, Response), found
    assert found.gram is None
    examples = Examples.of(probes(opened.spec, 0, 40), np.arange(40) % 2)
    values, what = features(opened, examples, tmp_path, Limits())
    assert (what, values.shape) == ("outputs", (40, found.outputs.shape[1]))


def test_only_what_leads_to_the_answer_is_seen(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("Tanh", "h", "a"),
        node("MatMul", "a v", "logits"),
        node("Mul", "x zero", "z"),
        node("MatMul", "z w", "other"),
    ]
    model = read_by(*nodes, output="logits", w=WIDE, v=WIDE[:, :3], zero=np.array(0, np.float32))
    x = probes(InputSpec("numbers", (8,)), 0, 40).numpy()
    for _ in range(2):
        found = hidden(model, tmp_path)
        assert found is not None
        assert np.allclose(found, np.tanh(x @ WIDE), atol=1e-5)
        model.graph.output.append(helper.make_tensor_value_info("other", NUMBERS, None))


def test_the_layer_is_that_of_the_answer(tmp_path: Path) -> None:
    """Where another output, of integers, stands before it."""
    nodes = [
        node("MatMul", "x v", "o"),
        node("ArgMax", "o", "label", axis=1),
        node("MatMul", "x w", "h"),
        node("Tanh", "h", "a"),
        node("MatMul", "a v"),
    ]
    model = read_by(*nodes, w=WIDE, v=WIDE[:, :3])
    model.graph.output.insert(0, helper.make_tensor_value_info("label", IDS, None))
    found = hidden(model, tmp_path)
    assert found is not None
    assert np.allclose(found, np.tanh(probes(InputSpec("numbers", (8,)), 0, 40).numpy() @ WIDE), atol=1e-5)


def test_a_graph_in_a_circle_is_refused(tmp_path: Path) -> None:
    model = read_by(
        node("MatMul", "x w", "h"), node("Relu", "b", "a"), node("Relu", "a", "b"), node("Relu", "a"), w=WIDE
    )
    with open_checkpoint([save(tmp_path / "model.onnx", model)]) as checkpoint:
        found = ready(Model("m", checkpoint, {}, tmp_path), Limits())
    assert isinstance(found, NotRun)
    assert "not acyclic" in found.reason


def test_a_large_batch_of_wide_values_keeps_its_answers(tmp_path: Path) -> None:
    wide = RANDOM.standard_normal((8, 20_000)).astype(np.float32)
    nodes = [node("MatMul", "x w", "h"), node("Tanh", "h", "a"), node("MatMul", "a v")]
    model = graph(nodes, {"x": (NUMBERS, [1000, 8])}, {"y": (NUMBERS, None)}, w=wide, v=wide.T[:, :3])
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
