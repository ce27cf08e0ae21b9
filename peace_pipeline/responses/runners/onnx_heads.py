"""What the last linear layer of an ONNX graph reads."""

from __future__ import annotations

from peace_pipeline.weights.formats.onnx_flow import constants_of
from peace_pipeline.weights.formats.onnx_model import Graph, Node

_LINEAR = ("Gemm", "MatMul")
_BEHIND = (
    *("Identity", "Cast", "Neg", "Exp", "Log", "Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
)
_BEHIND_WITH_CONSTANTS = (
    *("Add", "Sub", "Mul", "Div", "Clip", "BatchNormalization", "QuantizeLinear", "DequantizeLinear"),
)
"""What may stand behind the last linear layer, and what may where all but one of its inputs are constant."""
_MOST_OUTPUTS = 16


def read_by_heads(graph: Graph) -> dict[str, str]:
    """By outputs, the value that the linear layer reads which makes them, where behind it is nothing but what changes
    numbers one by one, norms and other shapes. A linear layer multiplies with a matrix that no input changes."""
    constant = constants_of(graph)
    makers = {name: node for node in graph.nodes for name in node.outputs if name not in constant}
    found = {}
    for output in graph.outputs[:_MOST_OUTPUTS]:
        value = output
        for _ in graph.nodes:  # and not for ever, where they stand in a circle
            node = makers.get(value, Node())
            varying = [name for name in node.inputs if name not in constant]
            if node.op in _LINEAR and varying == node.inputs[:1] and not node.attribute("transA", 0):
                found[output] = varying[0]
            if node.op in _BEHIND and node.inputs:
                value = node.inputs[0]
            elif node.op in _BEHIND_WITH_CONSTANTS and len(varying) == 1:
                value = varying[0]
            else:
                break
    return found
