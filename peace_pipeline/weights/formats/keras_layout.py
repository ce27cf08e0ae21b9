"""Keras' variables as PyTorch would name and lay them out.

What a layer is comes from the network's configuration; without one from the layer's own default name (``conv2d_3``),
then from the names and shapes of its variables. What stays as it is, under ``layer.variable``: variables of layers
that PyTorch has no like of. What can't be undone from the weights alone:

* A dense layer after a flattened image has its inputs in the order (height, width, channel), PyTorch's in (channel,
  height, width).
* A GRU with ``reset_after=False`` resets the state before the recurrent map, PyTorch's after it: the weights are laid
  out as PyTorch's, but compute another function there.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from peace_pipeline.weights.errors import CorruptFile, DuplicateTensor, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.formats.hdf5_process import Dataset

EPSILON = 1e-3
"""Of Keras' norms by default, except for RMS norms."""

MAX_NAMES = 64 << 20
"""Letters of all tensors' names; a network's configuration may give thousands of layers a long one."""

Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Source:
    """How a tensor lies in a dataset.

    Each of its axes is made of the dataset's ``axes`` there, the last fastest; of none it has length one. Its first
    axis comes in ``gates`` equal blocks, in this order. ``row`` is the only part of the dataset's first axis that is
    taken, ``eps`` the epsilon of a norm.
    """

    path: str
    axes: Axes
    gates: tuple[int, ...] = (0,)
    row: int | None = None
    eps: float | None = None

    def shape(self, dataset: Dataset) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(math.prod(dataset.shape[axis] for axis in axes) for axes in self.axes)

    @property
    def order(self) -> tuple[int, ...]:
        """The dataset's axes in the tensor's order; a first axis of which one row is taken stays first."""
        taken = tuple(axis for axes in self.axes for axis in axes)
        return taken if self.row is None else (0, *taken)

    def blocks(self, size: int, start: int, stop: int) -> list[tuple[int, int]]:
        """Rows [start, stop) of a tensor of ``size`` rows as rows of the dataset's order of gates."""
        block = size // len(self.gates)
        found = []
        for place, gate in enumerate(self.gates):
            first, last = max(start, place * block), min(stop, (place + 1) * block)
            if first < last:
                found.append((first + (gate - place) * block, last + (gate - place) * block))
        return found or [(0, 0)]


@dataclass(frozen=True)
class Node:
    """A layer as the configuration describes it; ``kind`` is its class in snake case.

    ``inner`` is the layer that it wraps, ``layers`` those that it holds by their names in the files: their own, and in
    Keras 3 their class, numbered.
    """

    kind: str
    config: dict[str, Any]
    name: str = ""
    inner: Node | None = None
    layers: Mapping[str, Node] = field(default_factory=dict)
    numbered: Mapping[str, Node] = field(default_factory=dict)


@dataclass
class Layer:
    """A layer's variables: name → path of the dataset. ``kind`` is its class in snake case where that is known."""

    name: str
    kind: str | None
    config: dict[str, Any]
    is_backward: bool = False
    variables: dict[str, str] = field(default_factory=dict)


_ATTENTION = ("query", "key", "value", "attention_output")
"""The dense layers of an attention layer."""
_VARIABLES = {
    "dense": ("kernel", "bias"),
    "separable_conv": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "embedding": ("embeddings",),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "rms_normalization": ("scale",),
    "normalization": ("mean", "variance", "count"),
    "rnn": ("kernel", "recurrent_kernel", "bias"),
}
"""Family of layers → its variables in Keras' order, which is how Keras 3 numbers them."""

_FAMILIES = {
    "dense": "dense",
    "einsum_dense": "dense",
    **{f"conv{n}d": "dense" for n in (1, 2, 3)},
    **{f"conv{n}d_transpose": "dense" for n in (1, 2, 3)},
    **{f"depthwise_conv{n}d": "dense" for n in (1, 2)},
    **{f"separable_conv{n}d": "separable_conv" for n in (1, 2)},
    "embedding": "embedding",
    "batch_normalization": "batch_normalization",
    "layer_normalization": "layer_normalization",
    "group_normalization": "layer_normalization",
    "rms_normalization": "rms_normalization",
    "normalization": "normalization",
    **dict.fromkeys(_ATTENTION, "dense"),
    **{kind: "rnn" for cell in ("lstm", "gru", "simple_rnn") for kind in (cell, f"{cell}_cell")},
}
_CONVOLUTION = {"filters", "kernel_size"}
_SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""Variable → the setting without which a layer doesn't have it."""

_NORMS = {
    "gamma": "weight",
    "scale": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_GATES = {1: (0,), 3: (1, 0, 2), 4: (0, 1, 2, 3)}
"""Number of gates → where PyTorch's stand in Keras' order: z, r, h for r, z, n; LSTMs (i, f, c, o) agree."""

_CONTAINERS = ("layers", "cells", "_layer_checkpoint_dependencies")
_INNER = ("layer", "cell", "forward_layer", "backward_layer")
_ATTRIBUTES = {"output_dense": "attention_output", **{f"{name}_dense": name for name in _ATTENTION}}
_TRAINING = ("optimizer", "metrics", "compile_metrics", "_compile_metrics")
_LAYER_NAMES = ("layer_names", "layer_names0")
"""Attributes of the group of all layers; the second where they are many."""
_RANDOM = "seed_generator"
_OF_A_CELL = re.compile(r"((forward|backward)_)?(lstm|gru|simple_rnn)(_cell)?(_\d+)?")
"""Names on a path, below a recurrent layer's."""
_MAX_SLASHES = 8


def sources(
    file: str, datasets: Mapping[str, Dataset], texts: Mapping[tuple[str, str], str], network: Node | None
) -> dict[str, Source]:
    """Tensor name → where it lies, for a Keras file of any kind or, without renaming, any other HDF5 file.

    Args:
        network: the network's configuration, if there is one.

    Raises:
        DuplicateTensor: where two datasets are one variable, or have one name.
        ExcessiveSize: where the tensors' names are longer than any network's.
        UnsupportedFormat: where a layer's weights are quantised.
    """
    if any(("model_weights", key) in texts for key in _LAYER_NAMES):
        layers = _named(file, datasets, "model_weights/", network)
    elif any(("", key) in texts for key in _LAYER_NAMES):
        layers = _named(file, datasets, "", network)
    elif any("vars" in path.split("/")[:-1] for path in datasets):
        layers = _numbered(datasets, texts, network)
    else:
        return _unchanged(file, datasets)
    found: dict[str, Source] = {}
    length = 0
    for layer in layers:
        for name, source in _laid_out(layer, datasets).items():
            kind = datasets[source.path].type
            if "float" not in kind and name.endswith("weight"):
                raise UnsupportedFormat(f"{file}: {layer.name!r} is quantised to {kind}, which is not read")
            full = f"{layer.name}.{name}" if layer.name else name
            if full in found:  # of two layers of one name the second keeps its path
                full = f"{source.path.rpartition('/')[0].replace('/', '.')}.{name}"
            if full in found:
                raise DuplicateTensor(f"{file}: two tensors have the name {full!r}")
            found[full] = source
            length += len(full)
            if length > MAX_NAMES:
                raise ExcessiveSize(f"{file}: names of more than {MAX_NAMES:,} letters")
    return found


def _unchanged(file: str, datasets: Mapping[str, Dataset]) -> dict[str, Source]:
    found = {path.replace("/", "."): Source(path, _axes(dataset.shape)) for path, dataset in datasets.items()}
    if len(found) < len(datasets):
        raise DuplicateTensor(f"{file}: two datasets have one name, with dots for the slashes on their paths")
    return found


def _axes(shape: tuple[int, ...]) -> Axes:
    """The axes of a tensor that lies as it is."""
    return tuple((axis,) for axis in range(len(shape)))


def configuration(file: str, text: str | bytes) -> Node | None:
    """The network that a configuration in JSON describes (``model_config``, ``config.json``); ``None`` for no network.

    Raises:
        CorruptFile: where it is no JSON.
    """
    try:
        return _node(json.loads(text.decode() if isinstance(text, bytes) else text))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{file}: its configuration is no JSON ({type(error).__name__})") from error


def _node(document: Any) -> Node | None:
    if not isinstance(document, dict) or not isinstance(document.get("class_name"), str):
        return None
    kind, config = _snake_case(document["class_name"]), document.get("config")
    if isinstance(config, list):  # a Sequential before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, dict):
        return Node(kind, {})
    held = config.get("layers") or config.get("cells")
    children = [node for node in map(_node, held if isinstance(held, list) else []) if node]
    numbered: dict[str, Node] = {}
    counts: Counter[str] = Counter()
    for child in children:
        numbered[f"{child.kind}_{counts[child.kind]}" if counts[child.kind] else child.kind] = child
        counts[child.kind] += 1
    return Node(
        kind,
        config,
        str(config.get("name", "")),
        _node(config.get("layer") or config.get("cell")),
        {child.name: child for child in children},
        numbered,
    )


def _snake_case(name: str) -> str:
    """A class's name as Keras writes it in a file's paths: ``Conv2DTranspose`` → ``conv2d_transpose``."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def _kind_of(name: str) -> str | None:
    """The kind that a layer's name tells where it is Keras' own (``conv2d_3``)."""
    kind = _unnumbered(name)
    return kind if kind in _FAMILIES else None


def _family_of(layer: Layer) -> str | None:
    """The family of a layer whose class is known; a class of another's making that is set up as Keras' convolutions
    are is one of them."""
    kind = layer.kind or ""
    is_convolution = layer.config.keys() >= _CONVOLUTION and not kind.startswith("locally_connected")
    return _FAMILIES.get(kind, "dense" if is_convolution else None)


def _unnumbered(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def _named(file: str, datasets: Mapping[str, Dataset], prefix: str, network: Node | None) -> Iterable[Layer]:
    """Layers of a file whose variables have names: Keras 2's, and Keras 3's HDF5 of before ``.weights.h5``."""
    layers: dict[tuple[str, bool], Layer] = {}
    for path in datasets:
        *parts, variable = path.removeprefix(prefix).split("/")
        if not path.startswith(prefix) or _RANDOM in parts:
            continue
        layer = _layer_by_names(parts, network)
        layer = layers.setdefault((layer.name, layer.is_backward), layer)
        variable = re.sub(r":\d+$", "", variable)
        if variable in layer.variables:
            raise DuplicateTensor(f"{file}: {path!r} and {layer.variables[variable]!r} are one variable")
        layer.variables[variable] = path
    return layers.values()


def _layer_by_names(parts: list[str], network: Node | None) -> Layer:
    """The layer of a variable by the names on its path, on which the outer ones may be repeated or numbered anew."""
    names: list[str] = []
    node, rest = network, parts
    is_backward = any(part.startswith("backward_") for part in parts)
    while node and (node.inner or node.layers):
        if node.inner:  # a wrapper's name stands for the layer in it
            node = node.inner
        elif found := _first(node.layers, rest):
            node, rest = found
            names.append(node.name)
        else:
            node = None
    if not node or not names:
        return _layer_by_path(parts, is_backward)
    layer = Layer(".".join(names), node.kind, node.config, is_backward)
    while rest and _unnumbered(rest[0]) == _unnumbered(names[-1]):
        rest = rest[1:]
    if not rest or _family_of(layer):
        return layer
    return Layer(".".join([*names, *rest]), _kind_of(rest[-1]), {}, is_backward)  # a layer within one


def _first(layers: Mapping[str, Node], parts: list[str]) -> tuple[Node, list[str]] | None:
    """The layer whose name comes first on a path (it may itself hold slashes), and the path after it."""
    for start in range(len(parts)):
        for stop in range(min(start + _MAX_SLASHES, len(parts)), start, -1):
            node = layers.get("/".join(parts[start:stop]))
            if node:
                return node, parts[stop:]
    return None


def _layer_by_path(parts: list[str], is_backward: bool) -> Layer:
    """The layer of a variable where no configuration tells: its path, without what repeats its beginning."""
    for length in range(len(parts) // 2, 0, -1):
        first, second = parts[:length], parts[length : 2 * length]
        if first in (second, [_unnumbered(part) for part in second]):
            parts = first + parts[2 * length :]
            break
    kept = parts[:1] + [part for part in parts[1:] if not _OF_A_CELL.fullmatch(part)]
    return Layer(".".join(kept), _kind_of(kept[-1]) if kept else None, {}, is_backward)


def _numbered(
    datasets: Mapping[str, Dataset], texts: Mapping[tuple[str, str], str], network: Node | None
) -> Iterable[Layer]:
    """Layers of a Keras 3 file, whose variables have numbers."""
    groups: dict[str, list[str]] = {}
    for path in datasets:
        *parts, variable = path.split("/")
        if (parts[:1] and parts[0] in _TRAINING) or _RANDOM in parts:
            continue
        if parts[-1:] == ["vars"]:
            groups.setdefault("/".join(parts), []).append(path)
        else:
            yield Layer(".".join(parts), "unknown", {}, variables={variable: path})
    for group, paths in groups.items():
        layer = _layer_by_keys(group.split("/"), texts, network)
        paths.sort(key=lambda path: (len(path), path))
        names = _variables(layer, [datasets[path].shape for path in paths])
        layer.variables = dict(zip(names, paths, strict=True))
        yield layer


def _layer_by_keys(parts: list[str], texts: Mapping[tuple[str, str], str], network: Node | None) -> Layer:
    """The layer of a group of variables by the attributes and classes on its path, and the names noted there."""
    names: list[str] = []
    node, kind = network, None
    for place, part in enumerate(parts):
        if part in _CONTAINERS or part == "vars":
            continue
        label = texts.get(("/".join([*parts[: place + 1], "vars"]), "name"), "")
        if part in _INNER and names:
            node = node.inner or node if node else None
            kind = node.kind if node else _kind_of(label) or kind
        else:
            node = node.numbered.get(part) if node else None
            names.append((node and node.name) or label or _ATTRIBUTES.get(part, part))
            kind = node.kind if node else _kind_of(part) or _kind_of(label)
    if not node and not kind and names:
        kind = _kind_of(names[-1])
    return Layer(".".join(names), kind, node.config if node else {}, "backward_layer" in parts)


def _variables(layer: Layer, shapes: list[tuple[int, ...]]) -> list[str]:
    """The names of a layer's numbered variables; their numbers where it is unknown."""
    family = _family(shapes) if layer.kind is None else _family_of(layer)
    names = [
        name for name in _VARIABLES.get(family or "", ()) if layer.config.get(_SWITCHES.get(name, ""), True)
    ]
    if family == "batch_normalization" and not layer.config:
        names = names[-len(shapes) :]
    numbers = [str(number) for number in range(len(shapes))]
    return [*names, *numbers[len(names) :]][: len(shapes)]


def _family(shapes: list[tuple[int, ...]]) -> str | None:
    """The family of a layer that nothing but the shapes of its variables tells."""
    ranks = [len(shape) for shape in shapes]
    if (
        ranks in ([2, 2, 1], [2, 2, 2])
        and shapes[0][1] == shapes[1][1]
        and shapes[1][1] in (shapes[1][0] * gates for gates in _GATES)
    ):
        return "rnn"
    if ranks[:1] in ([2], [3], [4], [5]) and (len(ranks) == 1 or shapes[1:] == [shapes[0][-1:]]):
        return "dense"
    if len(set(shapes)) == 1 and ranks[0] == 1:
        return {4: "batch_normalization", 2: "layer_normalization"}.get(len(shapes))
    return None


def _laid_out(layer: Layer, datasets: Mapping[str, Dataset]) -> dict[str, Source]:
    """The layer's tensors; what no rule fits, or a second one fits, stays as it is, under the variable's name."""
    shapes = {variable: datasets[path].shape for variable, path in layer.variables.items()}
    found: dict[str, Source] = {}
    for variable, path in layer.variables.items():
        tensors = _tensors(layer, variable, path, shapes)
        if not found.keys().isdisjoint(tensors):
            tensors = {variable: Source(path, _axes(shapes[variable]))}
        found |= tensors
    return found


def _tensors(
    layer: Layer, variable: str, path: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Source]:
    shape = shapes[variable]
    unchanged = Source(path, _axes(shape))
    if layer.kind is not None and not _family_of(layer):
        return {variable: unchanged}
    if "recurrent_kernel" in shapes:
        return _recurrent(layer, variable, path, shapes) or {variable: unchanged}
    if variable in _NORMS:
        return {_NORMS[variable]: _with_eps(layer, variable, unchanged, shapes)}
    if variable == "embeddings":
        return {"weight": unchanged}
    part = ""
    if "pointwise_kernel" in shapes:
        part = "depthwise." if variable == "depthwise_kernel" else "pointwise."
    if variable == "bias" and shape:
        return {f"{part}bias": Source(path, (tuple(range(len(shape))),))}
    axes = _kernel(layer, variable, shapes)
    return {f"{part}weight": Source(path, axes)} if axes else {variable: unchanged}


def _kernel(layer: Layer, variable: str, shapes: Mapping[str, tuple[int, ...]]) -> Axes | None:
    """The axes (out, in, *kernel) of a kernel (*kernel, in, out); ``None`` for what is no kernel."""
    rank = len(shapes[variable])
    spatial = tuple((axis,) for axis in range(rank - 2))
    if variable not in ("kernel", "depthwise_kernel", "pointwise_kernel") or rank < 2:
        return None
    if variable == "depthwise_kernel" or (layer.kind or "").startswith("depthwise"):
        return ((rank - 2, rank - 1), (), *spatial)  # (*kernel, channel, multiplier)
    if layer.kind == "einsum_dense":
        return _einsum(str(layer.config.get("equation", "")), shapes)
    if layer.kind == "attention_output" and rank == 3:  # (head, width, out)
        return ((2,), (0, 1))
    if layer.kind in _ATTENTION and rank == 3:  # (in, head, width)
        return ((1, 2), (0,))
    return ((rank - 1,), (rank - 2,), *spatial)


def _einsum(equation: str, shapes: Mapping[str, tuple[int, ...]]) -> Axes | None:
    """A kernel's axes by what its equation (``abc,cde->abde``) sums over; without one the last are outputs where they
    are its bias's."""
    kernel, bias = shapes["kernel"], shapes.get("bias", ())
    match = re.fullmatch(r"([\w.]+),(\w+)->([\w.]+)", equation)
    if match and len(match[2]) == len(kernel):
        axes = [(axis, letter in match[1], letter in match[3]) for axis, letter in enumerate(match[2])]
    else:
        first = len(kernel) - len(bias)
        if kernel[first:] != bias:
            return None
        axes = [(axis, axis < first, axis >= first) for axis in range(len(kernel))]
    inputs = tuple(axis for axis, is_input, is_output in axes if is_input and not is_output)
    outputs = tuple(axis for axis, is_input, is_output in axes if is_output and not is_input)
    return (outputs, inputs) if inputs and outputs and len(inputs + outputs) == len(kernel) else None


def _recurrent(
    layer: Layer, variable: str, path: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Source] | None:
    """Weights of a recurrent layer: kernels (in, gates · width) → (gates · width, in).

    A GRU's two biases (2, gates · width) are PyTorch's for the input and for the state; a single one is the input's.
    """
    recurrent, shape = shapes["recurrent_kernel"], shapes[variable]
    if len(recurrent) != 2 or not recurrent[0] or recurrent[1] % recurrent[0] or shape[-1:] != recurrent[1:]:
        return None
    gates = _GATES.get(recurrent[1] // recurrent[0])
    suffix = "l0_reverse" if layer.is_backward else "l0"
    if gates is None:
        return None
    if variable == "bias" and len(shape) == 2 and shape[0] == 2:
        return {
            f"bias_{of}_{suffix}": Source(path, ((1,),), gates, row) for row, of in enumerate(("ih", "hh"))
        }
    if variable == "bias" and len(shape) == 1:
        return {f"bias_ih_{suffix}": Source(path, ((0,),), gates)}
    of = {"kernel": "ih", "recurrent_kernel": "hh"}.get(variable)
    return {f"weight_{of}_{suffix}": Source(path, ((1,), (0,)), gates)} if of and len(shape) == 2 else None


def _with_eps(layer: Layer, variable: str, source: Source, shapes: Mapping[str, tuple[int, ...]]) -> Source:
    """A norm's epsilon belongs to its running variance, else to its gain."""
    if variable not in (("moving_variance",) if "moving_variance" in shapes else ("gamma", "scale")):
        return source
    eps = layer.config.get("epsilon", EPSILON if variable != "scale" else None)
    return replace(source, eps=eps if isinstance(eps, float) and 0 < eps < 1 else None)
