"""An ONNX file's graphs: its nodes, and where the values of its constant tensors lie (onnx.proto, IR version 13)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch

from peace_pipeline.weights.errors import CorruptFile, DuplicateTensor, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.formats.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Field,
    Walker,
    signed,
)
from peace_pipeline.weights.local_blob import Blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS, MAX_NAME

MAX_DEPTH = 16
"""Levels of graphs within graphs."""
MAX_SPANS = 10_000
"""Pieces of one tensor; writers pack its values into one."""
MAX_VALUES = 1 << 48
"""Values of a tensor; of an empty one, but for its empty dimensions."""
MAX_PARTS = 250_000
"""Nodes and tensors in all."""

T = TypeVar("T")
Beside = Callable[[str], AbstractContextManager[Blob]]
"""Opens the file that has a relative path beside the model."""

_MODEL = {7: ("graph", (LENGTH,))}
_GRAPH = {
    1: ("node", (LENGTH,)),
    5: ("initializer", (LENGTH,)),
    12: ("output", (LENGTH,)),
    15: ("sparse_initializer", (LENGTH,)),
}
_VALUE = {1: ("name", (LENGTH,))}
_NODE = {
    1: ("input", (LENGTH,)),
    2: ("output", (LENGTH,)),
    3: ("name", (LENGTH,)),
    4: ("op_type", (LENGTH,)),
    5: ("attribute", (LENGTH,)),
    9: ("metadata_props", (LENGTH,)),
}
_ATTRIBUTE = {
    1: ("name", (LENGTH,)),
    2: ("f", (FIXED32,)),
    3: ("i", (VARINT,)),
    5: ("t", (LENGTH,)),
    6: ("g", (LENGTH,)),
    8: ("ints", (VARINT, LENGTH)),
    22: ("sparse_tensor", (LENGTH,)),
}
_ENTRY = {1: ("key", (LENGTH,)), 2: ("value", (LENGTH,))}
_TENSOR = {
    1: ("dims", (VARINT, LENGTH)),
    2: ("data_type", (VARINT,)),
    3: ("segment", (LENGTH,)),
    4: ("float_data", (FIXED32, LENGTH)),
    5: ("int32_data", (VARINT, LENGTH)),
    7: ("int64_data", (VARINT, LENGTH)),
    8: ("name", (LENGTH,)),
    9: ("raw_data", (LENGTH,)),
    10: ("double_data", (FIXED64, LENGTH)),
    11: ("uint64_data", (VARINT, LENGTH)),
    13: ("external_data", (LENGTH,)),
    14: ("data_location", (VARINT,)),
}
_EXTERNAL = 1
_EXTERNAL_KEYS = ("location", "offset", "length")
_FIXED_WIDTH = ("raw_data", "float_data", "double_data")
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class ElementType:
    """A type of ONNX: torch's dtype (``None``: it has none), and the field that may hold it value by value."""

    name: str
    dtype: torch.dtype | None
    field: str = "int32_data"


TYPES = {
    1: ElementType("float32", torch.float32, "float_data"),
    2: ElementType("uint8", torch.uint8),
    3: ElementType("int8", torch.int8),
    4: ElementType("uint16", torch.uint16),
    5: ElementType("int16", torch.int16),
    6: ElementType("int32", torch.int32),
    7: ElementType("int64", torch.int64, "int64_data"),
    8: ElementType("string", None, "string_data"),
    9: ElementType("bool", torch.bool),
    10: ElementType("float16", torch.float16),
    11: ElementType("float64", torch.float64, "double_data"),
    12: ElementType("uint32", torch.uint32, "uint64_data"),
    13: ElementType("uint64", torch.uint64, "uint64_data"),
    14: ElementType("complex64", torch.complex64, "float_data"),
    15: ElementType("complex128", torch.complex128, "double_data"),
    16: ElementType("bfloat16", torch.bfloat16),
    17: ElementType("float8_e4m3fn", torch.float8_e4m3fn),
    18: ElementType("float8_e4m3fnuz", torch.float8_e4m3fnuz),
    19: ElementType("float8_e5m2", torch.float8_e5m2),
    20: ElementType("float8_e5m2fnuz", torch.float8_e5m2fnuz),
    21: ElementType("uint4", None),
    22: ElementType("int4", None),
    23: ElementType("float4_e2m1", None),
    24: ElementType("float8_e8m0fnu", torch.float8_e8m0fnu),
    25: ElementType("uint2", None),
    26: ElementType("int2", None),
}
"""TensorProto.DataType."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as the file holds it: its values at ``spans`` of the file, or of the one beside it at ``location``.

    They are packed varints, or else little-endian in the type's own width. A literal is the value of a node.
    """

    name: str
    shape: tuple[int, ...]
    type: ElementType
    spans: tuple[tuple[int, int], ...]
    location: str | None = None
    packed: bool = False
    is_literal: bool = False

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(eq=False, slots=True)
class Node:
    """One operation. ``scope`` is the dotted path of the module that it came from, where the exporter says so.

    ``attributes`` are numbers, the list ``perm``, :class:`StoredTensor` and :class:`Graph`; others are left out.
    """

    op: str = ""
    name: str = ""
    scope: str | None = None
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    def attribute(self, name: str, default: T) -> T:
        """An attribute where it is of its default's type."""
        value = self.attributes.get(name)
        return value if type(value) is type(default) else default


@dataclass(eq=False)
class Graph:
    """Nodes, and by name the constant tensors that they read: initialisers and values of ``Constant`` nodes; the names
    of what it gives."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


class ModelParser:
    """Parses a model's main graph and the graphs within; its functions and its training are passed over."""

    def __init__(self, blob: Blob, beside: Beside) -> None:
        self.blob, self.beside, self.walker = blob, beside, Walker(blob)
        self._parts_left = MAX_PARTS
        self._sizes: dict[str, int] = {}
        self._external: dict[tuple[str, int, int], StoredTensor] = {}

    def parse(self) -> Graph:
        """The main graph.

        Raises:
            UnreadableCheckpoint: where the file is no ONNX model, or claims values that it doesn't hold.
        """
        graphs = list(self.walker.fields(0, self.blob.size, _MODEL))
        if len(graphs) != 1:
            self.walker.wrong(f"it has {len(graphs)} graphs")
        graph = self._graph(graphs[0], MAX_DEPTH)
        self._refuse_overlaps()
        return graph

    def _graph(self, place: Field, depth: int) -> Graph:
        if not depth:
            raise ExcessiveSize(f"{self.blob.name}: more than {MAX_DEPTH} graphs within graphs")
        graph = Graph()
        for part in self.walker.fields(place.start, place.stop, _GRAPH):
            self._parts_left -= 1
            if self._parts_left < 0:
                raise ExcessiveSize(f"{self.blob.name}: more than {MAX_PARTS:,} nodes and tensors")
            if part.name == "node":
                node = self._node(part, depth)
                value = node.attributes.get("value")
                if node.op == "Constant" and isinstance(value, StoredTensor) and node.outputs:
                    self._add(graph, node.outputs[0], replace(value, name=node.outputs[0], is_literal=True))
                else:
                    graph.nodes.append(node)
            elif part.name == "initializer":
                self._add(graph, *self._tensor(part))
            elif part.name == "output":
                fields = self.walker.fields(part.start, part.stop, _VALUE)
                graph.outputs += [self.walker.text(name) for name in fields]
            else:
                self._refuse("sparse tensors")
        return graph

    def _add(self, graph: Graph, name: str, tensor: StoredTensor) -> None:
        if len(name) > MAX_NAME:
            raise ExcessiveSize(f"{self.blob.name}: a tensor's name of {len(name):,} characters")
        if name in graph.tensors:
            raise DuplicateTensor(f"{self.blob.name}: tensor {name!r} is there twice")
        graph.tensors[name] = tensor

    def _node(self, place: Field, depth: int) -> Node:
        node = Node()
        for part in self.walker.fields(place.start, place.stop, _NODE):
            match part.name:
                case "input":
                    node.inputs.append(self.walker.text(part))
                case "output":
                    node.outputs.append(self.walker.text(part))
                case "name":
                    node.name = self.walker.text(part)
                case "op_type":
                    node.op = self.walker.text(part)
                case "attribute":
                    self._attribute(part, node, depth)
                case "metadata_props":
                    scopes = self._entry(part, (_SCOPES,)).get(_SCOPES)
                    node.scope = node.scope if scopes is None else _module(scopes)
        return node

    def _attribute(self, place: Field, node: Node, depth: int) -> None:
        name, values = "", node.attributes
        for part in self.walker.fields(place.start, place.stop, _ATTRIBUTE):  # its name comes first
            match part.name:
                case "name":
                    name = self.walker.text(part)
                case "f":
                    values[name] = _shortest(self.walker.payload(part.start, part.stop))
                case "i":
                    values[name] = signed(part.number)
                case "ints" if name == "perm":
                    values[name] = self._extended(values.get(name, []), part)
                case "t":
                    _, values[name] = self._tensor(part)
                case "g":
                    values[name] = self._graph(part, depth - 1)
                case "sparse_tensor":
                    self._refuse("sparse tensors")

    def _entry(self, place: Field, keys: tuple[str, ...]) -> dict[str, str]:
        """A pair of key and value, where it is one of those keys."""
        parts = {part.name: part for part in self.walker.fields(place.start, place.stop, _ENTRY)}
        key = self.walker.text(parts["key"]) if "key" in parts else ""
        return {key: self.walker.text(parts["value"])} if key in keys and "value" in parts else {}

    def _extended(self, numbers: list[int], place: Field) -> list[int]:
        """Dimensions or axes with those of one more field, which holds one or, packed, several."""
        if place.stop - place.start > 10 * MAX_DIMENSIONS or len(numbers) > MAX_DIMENSIONS:
            raise ExcessiveSize(f"{self.blob.name}: a tensor of more than {MAX_DIMENSIONS} dimensions")
        return numbers + self.walker.numbers(place)

    def _tensor(self, place: Field) -> tuple[str, StoredTensor]:
        """A tensor and its name: what lies in one place of another file is one tensor, whatever its names."""
        name, shape, number, is_external = "", list[int](), 0, False
        data: list[Field] = []
        entries: dict[str, str] = {}
        for part in self.walker.fields(place.start, place.stop, _TENSOR):
            match part.name:
                case "name":
                    name = self.walker.text(part)
                case "dims":
                    shape = self._extended(shape, part)
                case "data_type":
                    number = part.number
                case "segment":
                    self._refuse("tensors in segments")
                case "external_data":
                    entries |= self._entry(part, _EXTERNAL_KEYS)
                case "data_location":
                    is_external = part.number == _EXTERNAL
                case _:
                    data.append(part)
        kind = TYPES.get(number, ElementType(f"{number}", None))
        if len(shape) > MAX_DIMENSIONS:
            raise ExcessiveSize(f"{self.blob.name}: tensor {name!r} has {len(shape)} dimensions")
        if any(size < 0 for size in shape) or math.prod(size or 1 for size in shape) > MAX_VALUES:
            self.walker.wrong(f"tensor {name!r} of shape {shape} can't be")
        if is_external:
            return name, self._external_tensor(name, tuple(shape), kind, entries)
        return name, self._own_tensor(name, tuple(shape), kind, data)

    def _own_tensor(
        self, name: str, shape: tuple[int, ...], kind: ElementType, data: list[Field]
    ) -> StoredTensor:
        fields = {part.name for part in data}
        if len(fields) > 1 or not fields <= {"raw_data", kind.field}:
            self.walker.wrong(f"tensor {name!r} of {kind.name} has {' and '.join(sorted(fields))}")
        if "raw_data" in fields:
            data = data[-1:]
        if len(data) > MAX_SPANS:
            raise ExcessiveSize(f"{self.blob.name}: tensor {name!r} lies in {len(data):,} pieces")
        packed = bool(fields) and not fields <= set(_FIXED_WIDTH)
        tensor = StoredTensor(
            name, shape, kind, tuple((part.start, part.stop) for part in data), packed=packed
        )
        held = sum(stop - start for start, stop in tensor.spans)
        needed = tensor.size if packed or kind.dtype is None else tensor.size * kind.dtype.itemsize
        if kind.dtype is not None and (held < needed if packed else held != needed):
            self.walker.wrong(f"tensor {name!r} of shape {shape} has {held:,} bytes")
        return tensor

    def _external_tensor(
        self, name: str, shape: tuple[int, ...], kind: ElementType, entries: dict[str, str]
    ) -> StoredTensor:
        """A tensor in another file (docs/ExternalData.md of ONNX)."""
        location = entries.get("location", "")
        if location not in self._sizes:
            with self.beside(location) as blob:
                self._sizes[location] = blob.size
        available = self._sizes[location]
        width = kind.dtype.itemsize if kind.dtype is not None else 1
        size = math.prod(shape) * width
        try:
            start = int(entries.get("offset", 0))
            length = int(entries.get("length", size))
        except ValueError:
            self.walker.wrong(f"tensor {name!r} is at no number in {location!r}")
        if length != size and kind.dtype is not None:
            self.walker.wrong(f"tensor {name!r} of shape {shape} has {length:,} bytes")
        if not 0 <= start <= start + length <= available:
            self.walker.wrong(f"tensor {name!r} goes beyond the end of {location!r}")
        tensor = StoredTensor(name, shape, kind, ((start, start + length),), location)
        first = self._external.setdefault((location, start, start + length), tensor)
        if (first.shape, first.type) == (shape, kind):
            return first
        if length:
            raise CorruptFile(f"{self.blob.name}: tensors overlap in {location!r}")
        return tensor

    def _refuse_overlaps(self) -> None:
        end: dict[str, int] = {}
        for location, start, stop in sorted(self._external):
            if start < end.get(location, 0) and start < stop:
                raise CorruptFile(f"{self.blob.name}: tensors overlap in {location!r}")
            end[location] = max(stop, end.get(location, 0))

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedFormat(f"{self.blob.name}: {what} are not read")


def _shortest(data: bytes) -> float:
    """A float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(struct.unpack("<f", data)[0])))


def _module(scopes: str) -> str | None:
    """The module's path of ``['', 'encoder.fc', 'linear']``."""
    return next(iter(re.findall(r"'([^']*)'", scopes)[-2:-1]), None)
