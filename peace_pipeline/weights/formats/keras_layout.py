"""Keras' variables as PyTorch would name and lay them out.

Variables of layers that PyTorch has no like of stay as they are, under ``layer.variable``. What can't be undone from
the weights alone:

* A dense layer after a flattened image has its inputs in the order (height, width, channel), PyTorch's in (channel,
  height, width).
* A GRU with ``reset_after=False`` resets the state before the recurrent map, PyTorch's after it: the weights are laid
  out as PyTorch's, but compute another function there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from peace_pipeline.weights.errors import DuplicateTensor, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.formats.hdf5_process import Dataset
from peace_pipeline.weights.formats.keras_config import Node
from peace_pipeline.weights.formats.keras_layers import ATTENTION, GATES, Layer, family_of, layers_of

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


_NORMS = {
    "gamma": "weight",
    "scale": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


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
    layers = layers_of(file, datasets, texts, network)
    if layers is None:
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
    if layer.kind is not None and not family_of(layer):
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
    if layer.kind in ATTENTION and rank == 3:  # (in, head, width)
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
    gates = GATES.get(recurrent[1] // recurrent[0])
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
