"""Which layer of a Keras network a variable belongs to, and which of its variables it is.

What a layer is comes from the network's configuration; without one from the layer's own default name (``conv2d_3``),
then from the names and shapes of its variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peace_pipeline.weights.errors import DuplicateTensor
from peace_pipeline.weights.formats.hdf5_process import Dataset
from peace_pipeline.weights.formats.keras_config import Node

ATTENTION = ("query", "key", "value", "attention_output")
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
    **dict.fromkeys(ATTENTION, "dense"),
    **{kind: "rnn" for cell in ("lstm", "gru", "simple_rnn") for kind in (cell, f"{cell}_cell")},
}
_CONVOLUTION = {"filters", "kernel_size"}
_SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""Variable → the setting without which a layer doesn't have it."""

GATES = {1: (0,), 3: (1, 0, 2), 4: (0, 1, 2, 3)}
"""Number of gates → where PyTorch's stand in Keras' order: z, r, h for r, z, n; LSTMs (i, f, c, o) agree."""

_CONTAINERS = ("layers", "cells", "_layer_checkpoint_dependencies")
_INNER = ("layer", "cell", "forward_layer", "backward_layer")
_ATTRIBUTES = {"output_dense": "attention_output", **{f"{name}_dense": name for name in ATTENTION}}
_TRAINING = ("optimizer", "metrics", "compile_metrics", "_compile_metrics")
_LAYER_NAMES = ("layer_names", "layer_names0")
"""Attributes of the group of all layers; the second where they are many."""
_RANDOM = "seed_generator"
_OF_A_CELL = re.compile(r"((forward|backward)_)?(lstm|gru|simple_rnn)(_cell)?(_\d+)?")
"""Names on a path, below a recurrent layer's."""
_MAX_SLASHES = 8


@dataclass
class Layer:
    """A layer's variables: name → path of the dataset. ``kind`` is its class in snake case where that is known."""

    name: str
    kind: str | None
    config: dict[str, Any]
    is_backward: bool = False
    variables: dict[str, str] = field(default_factory=dict)


def layers_of(
    file: str, datasets: Mapping[str, Dataset], texts: Mapping[tuple[str, str], str], network: Node | None
) -> Iterable[Layer] | None:
    """The layers of a Keras file of any kind; ``None`` for any other HDF5 file. ``network`` is its configuration, if
    there is one.

    Raises:
        DuplicateTensor: where two datasets are one variable.
    """
    if any(("model_weights", key) in texts for key in _LAYER_NAMES):
        return _named(file, datasets, "model_weights/", network)
    if any(("", key) in texts for key in _LAYER_NAMES):
        return _named(file, datasets, "", network)
    if any("vars" in path.split("/")[:-1] for path in datasets):
        return _numbered(datasets, texts, network)
    return None


def _kind_of(name: str) -> str | None:
    """The kind that a layer's name tells where it is Keras' own (``conv2d_3``)."""
    kind = _unnumbered(name)
    return kind if kind in _FAMILIES else None


def family_of(layer: Layer) -> str | None:
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
    if not rest or family_of(layer):
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
    family = _family(shapes) if layer.kind is None else family_of(layer)
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
        and shapes[1][1] in (shapes[1][0] * gates for gates in GATES)
    ):
        return "rnn"
    if ranks[:1] in ([2], [3], [4], [5]) and (len(ranks) == 1 or shapes[1:] == [shapes[0][-1:]]):
        return "dense"
    if len(set(shapes)) == 1 and ranks[0] == 1:
        return {4: "batch_normalization", 2: "layer_normalization"}.get(len(shapes))
    return None
