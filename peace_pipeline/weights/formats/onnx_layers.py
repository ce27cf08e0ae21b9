"""Which constants a node of an ONNX graph reads as the parameters of a layer, and how PyTorch lays these out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from peace_pipeline.weights.formats.onnx_model import Node, StoredTensor
from peace_pipeline.weights.formats.onnx_names import clean, is_made_up, is_parameter, module_of

_NORM = ("", "weight", "bias")
_PARAMETERS = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "MatMul": ("", "weight"),
    "Gather": ("weight",),
    "PRelu": ("", "weight"),
    "BatchNormalization": (*_NORM, "running_mean", "running_var"),
    "InstanceNormalization": _NORM,
    "GroupNormalization": _NORM,
    "LayerNormalization": _NORM,
    "RMSNormalization": _NORM[:2],
    "SimplifiedLayerNormalization": _NORM[:2],
}
"""Operator → roles of its inputs."""

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Operator → where PyTorch's gates stand in ONNX: i, f, g, o in iofc; r, z, n in zrh."""

_RECURRENT = (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh"))
"""What W, R and B are made of."""

_DEFAULT_EPS = 1e-5
"""Of every norm of ONNX (Operators.md)."""


@dataclass(frozen=True)
class Scale:
    """How integers stand for numbers: (value - ``zero``) · ``factor``, for each position along ``axis`` or for all;
    ``more`` is a further factor for all."""

    factor: StoredTensor
    zero: StoredTensor | None
    axis: int
    more: StoredTensor | None = None


@dataclass(frozen=True)
class Blocks:
    """How octets stand for a matrix: (out, blocks, octets of a block) of ``bits``-bit codes, lowest bits first, with a
    scale for each block of ``size`` inputs, and a zero point (packed alike), or half their range."""

    factor: StoredTensor
    zero: StoredTensor | None
    bits: int
    size: int


@dataclass(frozen=True)
class Weight:
    """A tensor as PyTorch has it: blocks of rows of a stored one, in that order, or its transpose.

    A row is what one position along the first axis of ``shape`` holds; of a transpose, along the stored one's.
    """

    stored: StoredTensor
    shape: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    transposed: bool = False
    scale: Scale | Blocks | None = None
    eps: float | None = None

    @property
    def width(self) -> int:
        """Values in one of the rows that ``blocks`` counts."""
        return math.prod(self.stored.shape[1:] if self.transposed else self.shape[1:])

    @property
    def name(self) -> str:
        """Its own name in the file."""
        return clean(self.stored.name)

    @property
    def is_anonymous(self) -> bool:
        """Whether the exporter made its name up."""
        return is_made_up(self.name)

    @property
    def vector(self) -> Weight:
        """Itself without the dimensions that only spread it over others, where one is left."""
        size = self.stored.size
        if self.scale or max(self.shape, default=0) < size:
            return self
        return replace(self, shape=(size,), blocks=((0, size),))

    @property
    def transpose(self) -> Weight:
        return replace(self, shape=self.shape[::-1], transposed=not self.transposed)


def _factors(node: Node, constants: list[Weight | None]) -> Iterator[tuple[str, Weight]]:
    """The constant factor of a matrix product as (out, in), and its bias."""
    first, second, bias = (*constants, None, None, None)[:3]
    factor, is_out_first = second or first, bool(node.attribute("transB", 0))
    if not second:
        is_out_first = not node.attribute("transA", 0)
    if factor:
        yield "weight", factor if is_out_first or len(factor.shape) != 2 else factor.transpose
    if bias and len(bias.shape) == 1:
        yield "bias", bias


def _gates(op: str, constants: list[Weight | None]) -> Iterator[tuple[str, Weight]]:
    """The parameters of each direction of a recurrent layer, from the stacked W, R and B (Operators.md of ONNX)."""
    order = GATES[op]
    for names, weight in zip(_RECURRENT, constants[1:4], strict=False):
        if weight is None or weight.transposed or weight.scale or len(weight.shape) != 4 - len(names):
            continue
        directions, rows = weight.shape[:2]
        size, rest = divmod(rows, len(order) * len(names))
        if rest or directions not in (1, 2):
            continue
        for direction, part in itertools.product(range(directions), range(len(names))):
            start = direction * rows + part * len(order) * size
            blocks = tuple((start + gate * size, start + (gate + 1) * size) for gate in order)
            shape = (len(order) * size, *weight.shape[2:])
            suffix = "_reverse" if direction else ""
            yield f"{names[part]}_l{{}}{suffix}", replace(weight, shape=shape, blocks=blocks)


@dataclass(eq=False)
class Layer:
    """The weights that a node reads, by role."""

    node: Node
    weights: dict[str, Weight] = field(default_factory=dict)

    def parameters(self, constants: list[Weight | None]) -> Iterator[tuple[str, Weight]]:
        """Role and layout of the constants that the node reads as parameters."""
        node = self.node
        if node.op in GATES:
            yield from _gates(node.op, constants)
        elif node.op in ("MatMul", "Gemm"):
            yield from _factors(node, constants)
        elif node.op == "Mul":
            yield from (("weight", gain.vector) for gain in constants if gain and _is_folded(gain))
        elif node.op != "Gather" or node.attribute("axis", 0) == 0:
            yield from self._of_inputs(constants)

    def _of_inputs(self, constants: list[Weight | None]) -> Iterator[tuple[str, Weight]]:
        roles = _PARAMETERS.get(self.node.op, ())
        found: dict[str, Weight] = {}
        for role, weight in zip(roles, constants, strict=False):
            if role and weight and all(weight.stored is not other.stored for other in found.values()):
                found[role] = weight
        if self.node.op == "PRelu":
            found = {role: weight.vector for role, weight in found.items()}
        if self.node.op.endswith("Normalization"):
            # a norm without parameters reads ones and zeros that the exporter made
            found = {r: w for r, w in found.items() if not (w.is_anonymous and w.stored.is_literal)}
            bearer = "running_var" if "running_var" in found else "weight"
            if bearer in found:
                eps = self.node.attribute("epsilon", _DEFAULT_EPS)
                found[bearer] = replace(found[bearer], eps=eps if 0 <= eps < math.inf else None)
        yield from found.items()

    def kept(self) -> list[Weight]:
        """The weights whose own names are a parameter's, or good enough where there is but one."""
        if self.node.op in GATES:
            return []
        named = [
            weight for weight in self.weights.values() if "/" not in weight.name and not weight.is_anonymous
        ]
        return [weight for weight in named if len(self.weights) == 1 or is_parameter(weight.name)]

    def place(self) -> str:
        """The module's name: from a parameter that has kept its own, else from any name that says something."""
        if kept := self.kept():
            return kept[0].name.rpartition(".")[0]
        own = next((weight.name for weight in self.weights.values() if not weight.is_anonymous), "")
        of_node = self.node.scope or module_of(clean(self.node.name))
        if own and not (self.node.op in GATES and of_node):
            return module_of(own) if "/" in own else own.rpartition(".")[0] or own
        return of_node or self.node.op


def _is_folded(gain: Weight) -> bool:
    """Whether the exporter computed it from a norm's gain: a vector without a name that is no value of a node."""
    is_vector = len(gain.vector.shape) == 1 and gain.stored.size > 1
    return is_vector and gain.is_anonymous and not gain.stored.is_literal
