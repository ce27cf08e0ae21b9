"""Which layer's units another layer of an ONNX graph reads, and nothing else does."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from peace_pipeline.weights.formats.onnx_layers import Layer, Weight
from peace_pipeline.weights.formats.onnx_model import Graph, Node, StoredTensor
from peace_pipeline.weights.tensors import Passage

_PRODUCTS, _CONVOLUTIONS, _TURNED = ("Gemm", "MatMul"), ("Conv", "ConvTranspose"), "ConvTranspose"
_ACTIVATIONS = {
    **{op: op.lower() for op in ("Relu", "Tanh", "Sin", "Softsign", "Elu", "Selu", "Celu")},
    **{
        op: op.lower()
        for op in ("Gelu", "Mish", "Softmax", "HardSwish", "Softplus", "Erf", "Abs", "Exp", "Clip")
    },
    "LeakyRelu": "leaky_relu",
    "Sigmoid": "logistic",
    "HardSigmoid": "hard logistic",
}
"""What acts on each value alone, and its name in config.json; where that would say more than is certain of the graph
(σ(−x) = 1 − σ(x) needs a reader without padding and factors of its own), another."""
_SAME = ("Identity", "Dropout")
_COUNTED = (
    "Relu",
    "Tanh",
    "Sigmoid",
    "Sin",
    "Softsign",
    "Elu",
    "Selu",
    "Celu",
    "LeakyRelu",
    "MaxPool",
    "AveragePool",
)
"""What exporters don't take apart; what they do (GELU, SiLU) may hold a Tanh or a Sigmoid."""
_SLOPES = {"LeakyRelu": 0.01, "Elu": 1.0, "Celu": 1.0}
_POOLING = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
"""Over the places of each channel alone."""
_MAYBE = {
    "PRelu",
    "LayerNormalization",
    "BatchNormalization",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    *_POOLING,
}
"""What may leave units what they are, which isn't followed."""
_POINTWISE = {
    *_ACTIVATIONS, *_SAME, "Cast", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Reciprocal", "Min", "Max",
} - {"Softmax"}  # fmt: skip
"""What treats all numbers alike, each alone."""
_WHOLE = (1, 11)
"""Types of as many numbers, to which a Cast changes nothing."""


def functions(graph: Graph) -> Counter[str]:
    """How often a graph computes each function that every exporter writes alike, with its slope."""
    found = Counter[str]()
    for node in graph.nodes:
        if node.op in _COUNTED:
            slope = _SLOPES.get(node.op)
            found[node.op if slope is None else f"{node.op} {node.attribute('alpha', slope):g}"] += 1
        for value in node.attributes.values():
            if isinstance(value, Graph):
                found.update(functions(value))
    return found


def constants_of(graph: Graph) -> set[str]:
    """Names of constants, and of what is computed from constants alone; the empty one of an input that isn't given."""
    known = {"", *graph.tensors}
    for node in graph.nodes:
        if node.inputs and known.issuperset(node.inputs):
            known.update(node.outputs)
    return known


def passages(graph: Graph, weights: Mapping[str, Weight], layers: Sequence[Layer]) -> list[Passage]:
    """The passages between layers whose parameters nothing else reads; none where the graph holds others."""
    return [found for found in _Flow(graph, weights, layers).found() if found]


@dataclass
class _Way:
    """What units have met behind their layer."""

    activations: list[str] = field(default_factory=list)
    norm: str | None = None
    is_pooled: bool = False
    is_flat: bool = False

    @property
    def is_at_start(self) -> bool:
        return not (self.activations or self.norm or self.is_pooled or self.is_flat)


class _Flow:
    def __init__(self, graph: Graph, weights: Mapping[str, Weight], layers: Sequence[Layer]) -> None:
        self._graph = graph
        self._readers: dict[str, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for name in node.inputs if node.op != "Shape" else ():
                self._readers[name].append(node)
        self._places = Counter(map(_place, graph.tensors.values()))
        self._constants = constants_of(graph)
        names = {weight.stored: name for name, weight in weights.items()}
        placed = {
            layer.node: {role: names.get(weight.stored, "") for role, weight in layer.weights.items()}
            for layer in layers
        }
        self._names = {
            node: found["weight"].removesuffix(".weight")
            for node, found in placed.items()
            if found.get("weight")
        }
        """Node → its layer."""
        self._ranks = {
            layer.node: len(layer.weights["weight"].shape) for layer in layers if "weight" in layer.weights
        }
        self._own = {layer.node for layer in layers if self._is_own(layer, placed[layer.node])}
        """Nodes that alone read their parameters, which are all of one layer."""
        self._biases = {
            layer.node: layer.weights["bias"].stored.name for layer in layers if "bias" in layer.weights
        }

    def _is_own(self, layer: Layer, names: Mapping[str, str]) -> bool:
        weights, place = layer.weights, names.get("weight", "").removesuffix(".weight")
        if len(weights) > 1 and any(name != f"{place}.{role}" for role, name in names.items()):
            return False
        if sum(map(bool, layer.node.inputs[1:])) > len(weights):
            return False
        return all(
            self._places[_place(weight.stored)] == len(self._uses(weight.stored.name)) == 1
            for weight in weights.values()
        )

    def _uses(self, name: str) -> set[Node]:
        """The nodes that read a constant, or what is computed from constants with it, beside something else."""
        found: set[Node] = set()
        waiting, seen = [name], {name}
        while waiting:
            for node in self._readers[waiting.pop()]:
                if not self._constants.issuperset(node.outputs):
                    found.add(node)
                    continue
                waiting += [output for output in node.outputs if output not in seen]
                seen.update(node.outputs)
        return found

    def found(self) -> Iterator[Passage | None]:
        inner = (value for node in self._graph.nodes for value in node.attributes.values())
        if any(isinstance(value, Graph) for value in inner):
            return
        for node in self._graph.nodes:
            if node in self._names and self._is_map(node):
                found = self._from(node)
                yield found if node in self._own or (found and found.end) else None

    def _is_map(self, node: Node) -> bool:
        """Whether a node maps the values of its first input by weights, and those of no other."""
        if (
            not node.inputs
            or node.inputs[0] in self._constants
            or not self._constants.issuperset(node.inputs[1:])
        ):
            return False
        if node.op in _PRODUCTS:
            return not node.attribute("transA", 0) and self._ranks.get(node) == 2
        return node.op in _CONVOLUTIONS and node.attribute("group", 1) == 1

    def _from(self, writer: Node) -> Passage | None:
        """The passage that begins at a layer, which ends where its units are mixed, branch, or come out of the network;
        none where what is done with them isn't followed."""
        way, value, name = _Way(), self._only(writer), self._names[writer]
        while value and value not in self._graph.outputs:
            readers = self._readers[value]
            if len(readers) == 1 and readers[0] in self._names and self._is_map(readers[0]):
                return self._passage(writer, way, readers[0], value)
            if len(readers) == 1 and self._goes_on(writer, way, readers[0]):
                value = self._only(readers[0])
            elif alike := self._alike(value):
                way.activations.append("several")
                value = alike
            elif len(readers) == 1:
                [node] = readers
                is_open = node.op in _MAYBE and (node.op != "Reshape" or self._may_flatten(writer, node))
                return (
                    None if is_open else Passage(name, "", end=f"what {node.op} does with them is not known")
                )
            else:
                return Passage(name, "", end="several nodes read them") if readers else None
        return Passage(name, "", end="they come out of the network") if value else None

    def _may_flatten(self, writer: Node, node: Node) -> bool:
        """Whether a Reshape may be that of channels with their places, for a product."""
        readers = self._readers[self._only(node)]
        return writer.op in _CONVOLUTIONS and bool(readers) and all(each.op in _PRODUCTS for each in readers)

    def _only(self, node: Node) -> str:
        """The only value that a node gives to others; empty where it gives several."""
        value, *others = node.outputs or [""]
        used = [other for other in others if other and (self._readers[other] or other in self._graph.outputs)]
        return "" if used else value

    def _alike(self, value: str) -> str:
        """The one value that is made of another by operators that treat all numbers alike (SiLU, GELU in parts); empty
        where there is none."""
        made, inside = {value: None}, set[Node]()
        waiting = [value]
        while waiting:
            for node in self._readers[waiting.pop()]:
                inputs = [name for name in node.inputs if name]
                is_alike = node.op in _POINTWISE and all(
                    name in made or self._is_number(name) for name in inputs
                )
                if is_alike and node not in inside and len(node.outputs) == 1:
                    inside.add(node)
                    made[node.outputs[0]] = None
                    waiting.append(node.outputs[0])
        ends = [
            name for name in made if name in self._graph.outputs or not inside.issuperset(self._readers[name])
        ]
        return ends[0] if len(ends) == 1 and ends[0] != value else ""

    def _is_number(self, name: str) -> bool:
        return name in self._graph.tensors and self._graph.tensors[name].size == 1

    def _passage(self, writer: Node, way: _Way, reader: Node, value: str) -> Passage | None:
        if reader not in self._own:
            return None
        is_conv, reads_channels = writer.op in _CONVOLUTIONS, reader.op in _CONVOLUTIONS
        if (
            reader.inputs[0] != value
            or is_conv != (reads_channels or way.is_flat)
            or (reads_channels and way.is_flat)
        ):
            return None
        turned = tuple(self._names[node] for node in (writer, reader) if node.op == _TURNED)
        return Passage(
            self._names[writer], self._names[reader], tuple(way.activations), way.norm, way.is_pooled, turned
        )

    def _goes_on(self, writer: Node, way: _Way, node: Node) -> bool:
        """Whether a node leaves units what they are; ``way`` is told what it does."""
        is_conv = writer.op in _CONVOLUTIONS
        if node.op == "Add":
            return way.is_at_start and self._adds_bias(writer, node)
        if not self._constants.issuperset(node.inputs[1:]):
            return False
        if node.op in _ACTIVATIONS:
            way.activations.append(_ACTIVATIONS[node.op])
        elif node.op == "Cast":
            if node.attribute("to", 0) not in _WHOLE:
                way.activations.append("cast")
        elif node.op == "BatchNormalization":
            if not way.is_at_start or writer.op == "MatMul" or node not in self._names.keys() & self._own:
                return False
            way.norm = self._names[node]
        elif node.op in _POOLING and is_conv and not way.is_flat:
            way.is_pooled = True
        elif node.op == "Flatten" and is_conv and not way.is_flat and node.attribute("axis", 1) == 1:
            way.is_flat = True
        else:
            return node.op in _SAME
        return True

    def _adds_bias(self, writer: Node, node: Node) -> bool:
        """Whether a node adds a number to each unit: along the last axis of a product, the second of a convolution."""
        added = next((name for name in node.inputs if name in self._graph.tensors), None)
        if added is None or self._biases.get(writer) != added:
            return False
        behind = self._ranks[writer] - 2 if writer.op in _CONVOLUTIONS else 0
        shape = self._graph.tensors[added].shape
        return len(shape) > behind and shape[len(shape) - 1 - behind] == math.prod(shape)


def _place(tensor: StoredTensor) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    return tensor.location, tensor.spans
