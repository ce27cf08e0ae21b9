"""Constants of an ONNX graph → weights as PyTorch names and lays them out, from the nodes that read them.

Where the exporter kept a parameter's name it stays. Where it made one up (``onnx::MatMul_123``) the layer's name is
taken from its other parameters (``fc.bias`` gives ``fc.weight``), else from the node (``/fc/MatMul``). What lies in
a graph within (a branch of ``If``, the body of ``Loop``) is named after its node and branch:
``If_0.then_branch.fc.weight``; the branches' networks are different ones, even where values are the same.
"""

from __future__ import annotations

import itertools
from collections import ChainMap, defaultdict
from dataclasses import replace

from peace_pipeline.weights.errors import ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.formats.onnx_layers import GATES, Blocks, Layer, Scale, Weight
from peace_pipeline.weights.formats.onnx_model import Graph, Node, StoredTensor
from peace_pipeline.weights.formats.onnx_names import clean, dotted, is_parameter
from peace_pipeline.weights.formats.onnx_quantised import BLOCKS
from peace_pipeline.weights.tensors import MAX_NAME

MAX_COPIED = 64 << 20


_SAME = {"Identity", "Cast", "QuantizeLinear"}
"""Operators that hand on a weight as it is, or all but its precision."""
_RESHAPED = {"Reshape", "Unsqueeze"}
"""Operators that give a vector the axes of what it is added to."""
_SETTINGS = {BLOCKS, "DequantizeLinear", "QuantizeLinear", "Resize", "Upsample", "Clip", "Pad"}
"""Operators whose inputs beside the first are no weights."""
_FLOATING = {"float64", "float32", "float16", "bfloat16"}
_INDICES = {"int32", "int64", "bool", "string"}
"""Types of shapes, axes, flags and labels."""


def weights_of(
    graph: Graph, file: str, max_copied: int = MAX_COPIED
) -> tuple[dict[str, Weight], list[Layer]]:
    """Name → weight, in the order in which the tensors stand in the file; and the nodes that read them.

    All tensors that are copies of others have at most ``max_copied`` values: a small file must not claim large
    networks.

    Raises:
        UnsupportedFormat: where one is of a type, or quantised in a way, that is not read.
        ExcessiveSize: beyond ``max_copied``.
    """
    constants = _Constants(file, max_copied)
    constants.read(graph, ChainMap(), "")
    weights = constants.named()
    for name, weight in weights.items():
        _check(file, name, weight)
    return weights, constants.layers


def _check(file: str, name: str, weight: Weight) -> None:
    if weight.stored.type.dtype is None:
        kind = weight.stored.type.name
        raise UnsupportedFormat(f"{file}: tensor {name!r} is of type {kind}, which is not read")
    fits = _fits_blocks if isinstance(weight.scale, Blocks) else _fits
    if weight.scale and not fits(weight):
        raise UnsupportedFormat(f"{file}: tensor {name!r} is quantised in a way that is not read")


def _fits(weight: Weight) -> bool:
    """Whether there is one factor for all or one for each position along the axis, and as many zeros or none."""
    scale, shape = weight.scale, weight.stored.shape
    assert isinstance(scale, Scale)
    if scale.more and (scale.more.size != 1 or scale.more.type.name not in _FLOATING):
        return False
    if not -len(shape) <= scale.axis < len(shape):
        return False
    allowed = ((), (1,), (shape[scale.axis],))
    parts = [scale.factor] if scale.zero is None else [scale.factor, scale.zero]
    return scale.factor.type.name in _FLOATING and all(
        part.shape in allowed and part.type.dtype is not None for part in parts
    )


def _fits_blocks(weight: Weight) -> bool:
    """Whether codes, scales and zero points have the sizes that the operator documents."""
    scale, (outputs, inputs) = weight.scale, weight.shape
    assert isinstance(scale, Blocks)
    if scale.bits not in (2, 4, 8) or scale.size < 1 or min(outputs, inputs) < 1:
        return False
    blocks = -(-inputs // scale.size)
    sizes = {outputs * blocks} | {outputs * -(-blocks * scale.bits // 8)}
    return (
        weight.stored.type.name == "uint8"
        and weight.stored.size * 8 == outputs * blocks * scale.size * scale.bits
        and scale.factor.type.name in _FLOATING
        and scale.factor.size == outputs * blocks
        and (
            scale.zero is None or (scale.zero.size in sizes and scale.zero.type.name in (*_FLOATING, "uint8"))
        )
    )


class _Constants:
    """The constant tensors of a graph and of those within, and the layers that read them."""

    def __init__(self, file: str, max_copied: int) -> None:
        self.file, self._copied, self._max_copied = file, 0, max_copied
        self.layers: list[Layer] = []
        self.loose: dict[StoredTensor, tuple[str, Weight]] = {}
        """Every tensor, with its graph's prefix and as it is where no layer reads it."""
        self._of_layers: set[StoredTensor] = set()
        self._settings: set[StoredTensor] = set()
        self._read: set[StoredTensor] = set()
        self._taken: set[str] = set()
        self._next: defaultdict[str, int] = defaultdict(int)

    def read(self, graph: Graph, outer: ChainMap[str, Weight], prefix: str) -> None:
        """Go through the nodes of a graph, which sees the constants of those around it."""
        known = outer.new_child({name: _plain(tensor) for name, tensor in graph.tensors.items()})
        for weight in list(known.maps[0].values()):
            self.loose.setdefault(weight.stored, (prefix, weight))
        products: dict[str, Layer] = {}
        for position, node in enumerate(graph.nodes):
            constants = [known.get(name) for name in node.inputs]
            self._read.update(weight.stored for weight in constants if weight)
            if node.op in _SETTINGS:
                self._settings.update(weight.stored for weight in constants[1:] if weight)
            if node.outputs and constants and constants[0]:
                self._hand_on(node, constants, known, prefix)
            if node.op == "Add":
                self._add_bias(node, constants, products)
            else:
                self._add_layer(Layer(node), constants, products)
            for branch, inner in node.attributes.items():
                if isinstance(inner, Graph):
                    place = f"{prefix}{dotted(clean(node.name)) or f'{node.op}_{position}'}.{branch}"
                    if len(place) > MAX_NAME:  # each of its tensors' names begins with it
                        raise ExcessiveSize(f"{self.file}: a graph's name of {len(place):,} characters")
                    self.read(inner, known, f"{self._unique(place)}.")

    def _hand_on(
        self, node: Node, constants: list[Weight | None], known: ChainMap[str, Weight], prefix: str
    ) -> None:
        """Know a node's output as a constant where the node changes no more than precision or layout."""
        weight, *others = constants
        assert weight is not None
        name = node.outputs[0]
        if node.op == "Transpose" and len(weight.shape) == 2 and node.attribute("perm", [1, 0]) == [1, 0]:
            known[name] = weight.transpose
        elif node.op == "Identity" and is_parameter(name):
            known[name] = self._copy(weight, name, prefix)
        elif node.op in _SAME or (node.op in _RESHAPED and len(weight.shape) == 1):
            known[name] = weight
        elif node.op == "DequantizeLinear" and others and others[0]:
            known[name] = scaled = _dequantised(node, weight, others[0], *others[1:3])
            home, loose = self.loose[weight.stored]
            self.loose[weight.stored] = (home, replace(loose, scale=scaled.scale))
        elif node.op == BLOCKS and others and others[0]:
            known[name] = _of_blocks(node, weight, others[0], others[1])

    def _copy(self, weight: Weight, name: str, prefix: str) -> Weight:
        """A parameter that PyTorch's exporter stores once because another one is equal."""
        self._copied += weight.stored.size
        if self._copied > self._max_copied:
            raise ExcessiveSize(f"{self.file}: copies of more than {self._max_copied:,} values")
        copy = replace(weight, stored=replace(weight.stored, name=name))
        self.loose[copy.stored] = (prefix, copy)
        return copy

    def _add_layer(self, layer: Layer, constants: list[Weight | None], products: dict[str, Layer]) -> None:
        for role, weight in layer.parameters(constants):
            if (
                weight.shape and weight.stored not in self._of_layers
            ):  # what two layers share is the first one's
                layer.weights[role] = weight
        if layer.weights:
            self.layers.append(layer)
            self._of_layers.update(weight.stored for weight in layer.weights.values())
            if layer.node.op in ("MatMul", "Gemm", "Mul", "Conv", "ConvTranspose"):
                products.update(dict.fromkeys(layer.node.outputs, layer))

    def _add_bias(self, node: Node, constants: list[Weight | None], products: dict[str, Layer]) -> None:
        """A vector that is added to a product is its bias."""
        for weight, other in zip(constants, node.inputs[::-1], strict=True):
            layer = products.get(other)
            if weight is None or layer is None or weight.stored in self._of_layers:
                continue
            bias = weight.vector if weight.is_anonymous else weight
            if "bias" not in layer.weights and bias.shape == layer.weights["weight"].shape[:1]:
                layer.weights["bias"] = bias
                self._of_layers.add(weight.stored)

    def named(self) -> dict[str, Weight]:
        """Every weight under a name of its own: first what keeps its name, then what takes one from its layer."""
        names: defaultdict[StoredTensor, dict[str, Weight]] = defaultdict(dict)
        for stored, (prefix, weight) in self.loose.items():
            if stored not in self._of_layers and self._is_weight(weight):
                names[stored][self._unique(prefix + (dotted(weight.name) or "tensor"))] = weight
        for layer in self.layers:
            layer.weights = {role: weight for role, weight in layer.weights.items() if _is_number(weight)}
            for weight in layer.kept():
                prefix, _ = self.loose[weight.stored]
                names[weight.stored][self._unique(prefix + weight.name)] = weight
        for layer in self.layers:
            kept = layer.kept()
            rest = {role: weight for role, weight in layer.weights.items() if weight not in kept}
            for name, weight in zip(self._names(layer, rest), rest.values(), strict=True):
                names[weight.stored][name] = weight
        return {name: weight for stored in self.loose for name, weight in names[stored].items()}

    def _is_weight(self, weight: Weight) -> bool:
        """Whether a tensor that no layer reads is one: not a shape, a setting or what an exporter left over."""
        stored = weight.stored
        has_no_use = stored.is_literal or stored not in self._read or stored.size == 1
        is_left_over = weight.is_anonymous and has_no_use
        return _is_number(weight) and stored not in self._settings and not is_left_over

    def _names(self, layer: Layer, weights: dict[str, Weight]) -> list[str]:
        """Names for weights of a layer by role; a module's stack of recurrent layers is numbered as PyTorch does."""
        prefix = self.loose[next(iter(layer.weights.values())).stored][0] if weights else ""
        place = prefix + layer.place()
        for number in itertools.count(self._next[place]):
            if layer.node.op in GATES:
                names = [f"{place}.{role.format(number)}" for role in weights]
            else:
                numbered = f"{place}_{number + 1}" if number else place
                names = [f"{numbered}.{role}".lstrip(".") for role in weights]
            if self._taken.isdisjoint(names):
                break
        self._next[place] = number + 1
        self._taken.update(names)
        return names

    def _unique(self, name: str) -> str:
        """The name, with a number where it is taken."""
        unique = name
        while unique in self._taken:
            self._next[name] += 1
            unique = f"{name}_{self._next[name] + 1}"
        self._taken.add(unique)
        return unique


def _plain(stored: StoredTensor) -> Weight:
    return Weight(stored, stored.shape, ((0, stored.shape[0] if stored.shape else 1),))


def _is_number(weight: Weight) -> bool:
    return bool(weight.shape) and (weight.scale is not None or weight.stored.type.name not in _INDICES)


def _dequantised(
    node: Node, weight: Weight, factor: Weight, zero: Weight | None = None, more: Weight | None = None
) -> Weight:
    if weight.stored.type.name in _FLOATING:  # quantised as it runs: the file has it whole
        return weight
    axis = node.attribute("axis", 1)
    if len(factor.shape) < 1 or factor.shape == (1,):
        axis = 0
    elif weight.transposed:
        axis = 1 - axis
    scale = Scale(factor.stored, zero.stored if zero else None, axis, more.stored if more else None)
    return replace(weight, scale=scale)


def _of_blocks(node: Node, codes: Weight, factor: Weight, zero: Weight | None) -> Weight:
    shape = (node.attribute("N", 0), node.attribute("K", 0))
    scale = Blocks(
        factor.stored,
        zero.stored if zero else None,
        node.attribute("bits", 4),
        node.attribute("block_size", 0),
    )
    return replace(codes, shape=shape, blocks=((0, shape[0]),), scale=scale)
