"""Small ONNX graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.weights.formats.onnx_models import initialiser

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.standard_normal((6, 4)).astype(np.float32)
KERNEL = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
TABLE = RANDOM.standard_normal((50, 4)).astype(np.float32)
NUMBERS, IDS = TensorProto.FLOAT, TensorProto.INT64

Values = dict[str, tuple[int, Any]]


def graph(nodes: list[Any], inputs: Values, outputs: Values, **tensors: np.ndarray) -> Any:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        [initialiser(name, values) for name, values in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def product(batch: Any = "n", size: Any = 6, **tensors: np.ndarray) -> Any:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return graph([node], {"x": (NUMBERS, [batch, size])}, {"y": (NUMBERS, None)}, **{"w": MATRIX} | tensors)


def tokens(table: np.ndarray = TABLE, **more: Any) -> Any:
    """Means over a sequence's tokens that are no padding."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"]),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=NUMBERS),
        helper.make_node("Unsqueeze", ["m", "last"], ["mm"]),
        helper.make_node("Mul", ["e", "mm"], ["logits"]),
    ]
    inputs = {name: (IDS, ["n", "t"]) for name in ("input_ids", "attention_mask")} | more
    return graph(nodes, inputs, {"logits": (NUMBERS, None)}, table=table, last=np.array([2]), scale=MATRIX)
