"""ONNX models: made, saved and run."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper, numpy_helper
from torch import nn

ROBUST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def initialiser(name: str, values: torch.Tensor | np.ndarray) -> TensorProto:
    return numpy_helper.from_array(
        values.detach().numpy() if torch.is_tensor(values) else np.array(values), name
    )


def model(nodes: list[Any], tensors: list[TensorProto], inputs: Any = (), outputs: Any = ("y",)) -> Any:
    def values(names: Any) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def save(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def exported(module: nn.Module, *examples: torch.Tensor, path: Path, **options: Any) -> Path:
    """What PyTorch's exporter makes of a module, saved."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), examples, buffer, dynamo=False, opset_version=17, **options)
    return save(path, buffer.getvalue())


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value)
        for name, value in expected.items()
    )


PRODUCTS = {
    "MatMul": [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "Gemm": [helper.make_node("Gemm", ["x", "w"], ["y"])],
    "Gemm of the transpose": [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
    "MatMul of a Transpose": [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ],
    "MatMul of a Cast": [
        helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
    ],
    "from the left": [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["w", "t"], ["p"]),
        helper.make_node("Transpose", ["p"], ["y"], perm=[1, 0]),
    ],
}


def branch(values: np.ndarray, name: str = "w") -> Any:
    value = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))
    product = helper.make_node("MatMul", ["x", name], [f"{name}_y"])
    result = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
    return helper.make_graph([value, product], "branch", [], [result])
