"""Which layers follow one another, as far as their names and shapes say so and leave nothing else open.

Two kinds of evidence count, and neither proves anything:

- The layers are neighbours in an ``nn.Sequential``. That a module is one is seen by its numbers: some are missing
  (activations have no parameters), or a norm has one of them, or the whole network is made of numbers. A
  ``nn.ModuleList`` of layers has all of them, and says nothing of their order.
- They are siblings, and only one writes and only one reads as many units in all that their parent has.

Whatever could be something else as well is left out: layers of equal widths side by side (residual and parallel
branches, repeated layers), parts of different modules (several networks in one file, codes that are outputs), channels
that are flattened with their places elsewhere than in an ``nn.Sequential`` (channels last, two kinds of pooling),
embeddings, convolutions that may be transposed, norms that may be of groups of channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from natsort import natsorted

from peace_pipeline.weights.layers import Layer

NORMS_OF_ALL = "norms without statistics take all units of a layer together"
NOT_TRANSPOSED = "convolutions with as many inputs as outputs are not transposed"

_MAPS = ("linear", "conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class Coupling:
    """A layer that writes what another reads, by name. ``norm`` is a BatchNorm that follows at once, ``later`` one
    that comes after it and perhaps after the activation; ``vectors`` have an entry for each unit (LayerNorm, PReLU)
    and allow permutations alone."""

    writer: str
    reader: str
    norm: str | None = None
    later: str | None = None
    vectors: tuple[str, ...] = ()


class Couplings:
    """The couplings of a network's layers; ``turned`` are transposed convolutions that are stored (in, out), and
    ``assumes`` is what they rest on beside the order of the layers."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._names = _Names(layers)
        self._lone = {n for layer in self._names.layers.values() if not layer.has_weight for n in layer.shape}
        self._has_plain = any(map(_is_surely_plain, self._names.layers.values()))
        self.turned: set[str] = set()
        self.of_writer: dict[str, Coupling] = {}
        self.of_reader: dict[str, Coupling] = {}
        for parent in self._names.children:
            for found in self._in_sequence(parent) or self._by_width(parent):
                self.of_writer[found.writer] = self.of_reader[found.reader] = found

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the couplings rest on."""
        layers, found = self._names.layers, self.of_writer.values()
        normed = any("shift" in layers[vector].tensors for coupling in found for vector in coupling.vectors)
        square = any(
            len(shape) > 2 and shape[0] == shape[1]
            for coupling in found
            for shape in (layers[coupling.writer].shape, layers[coupling.reader].shape)
        )
        return (NORMS_OF_ALL,) * normed + (NOT_TRANSPOSED,) * square

    def _in_sequence(self, parent: str) -> list[Coupling]:
        """Couplings of neighbours in an ``nn.Sequential``."""
        couplings = []
        for run in self._names.sequences(parent):
            steps = _steps(run)
            sides = _sides(steps, self._has_plain)
            self.turned |= {
                step.layer.name for step, side in zip(steps, sides, strict=True) if side == (1, 0)
            }
            for (step, own), (other, its) in pairwise(zip(steps, sides, strict=True)):
                if own and its and (found := step.coupled(other, own[0], its[1])):
                    couplings.append(found)
        return couplings

    def _by_width(self, parent: str) -> list[Coupling]:
        """Couplings of siblings one of which alone writes, and one alone reads, a number of units."""
        siblings, inside = self._names.direct(parent), self._names.inside[parent]
        direct = [layer for layer in siblings if _is_plain(layer)]
        if len(direct) < 2 or any(self._names.sequences(parent)):
            return []
        couplings = []
        for writer in direct:
            size = writer.shape[0]
            readers = [layer for layer in direct if layer.shape[1] == size and layer is not writer]
            if (
                len(readers) != 1
                or size in self._lone
                or not _are_in_order(writer, readers[0], direct)
                or not _are_alone(writer, readers[0], inside)
            ):
                continue
            vectors = [layer for layer in inside if layer.shape == (size,)]
            are_siblings = all(layer.is_norm and layer in siblings for layer in vectors)
            if len(vectors) < 2 and are_siblings and (found := _between(writer, readers[0], vectors)):
                couplings.append(found)
        return couplings


def comes_later(layer: Layer, known: Coupling | None) -> bool:
    """Whether a BatchNorm behind a layer may come after its activation: what a bias would do, a norm that follows at
    once does."""
    return _has_bias(layer) if known is None else known.norm is None


def _is_plain(layer: Layer) -> bool:
    """Whether a layer is a map (out, in, *kernel) and surely not a transposed one: these have kernels of even sizes
    mostly, and a bias would tell."""
    return layer.kind in _MAPS and layer.has_weight and (_has_bias(layer) or not _is_even(layer))


def _is_surely_plain(layer: Layer) -> bool:
    return _is_plain(layer) and len(layer.shape) > 2 and layer.shape[0] != layer.shape[1]


def _has_bias(layer: Layer) -> bool:
    return "bias" in layer.tensors


def _is_even(layer: Layer) -> bool:
    return any(size % 2 == 0 for size in layer.shape[2:])


def _are_in_order(writer: Layer, reader: Layer, siblings: Sequence[Layer]) -> bool:
    """Whether a layer may come right before another: where names differ in a number alone, it must; else the other may
    not be what it reads."""
    stem = _stem(writer)
    if stem != _stem(reader):
        return reader.shape[0] != writer.shape[1]
    series = [layer for layer in siblings if _stem(layer) == stem]
    return series.index(reader) == series.index(writer) + 1


def _stem(layer: Layer) -> str:
    return layer.name.rstrip("0123456789")


def _are_alone(writer: Layer, reader: Layer, inside: Sequence[Layer]) -> bool:
    """Whether nothing else in a module has to do with as many units, nor reads what may be a concatenation."""
    size = writer.shape[0]
    if size in (writer.shape[1], reader.shape[0]) or (len(writer.shape) == 2 < len(reader.shape)):
        return False
    others = [
        layer for layer in inside if layer is not writer and layer is not reader and len(layer.shape) > 1
    ]
    if any(size in layer.shape for layer in others):
        return False
    written = {layer.shape[0] for layer in inside}
    channels = {layer.shape[0] for layer in inside if len(layer.shape) > 2}
    read = (layer.shape[1] for layer in others)
    return all(
        width <= size or width in written or width == writer.shape[1] or any(width % n == 0 for n in channels)
        for width in read
    )


@dataclass(frozen=True)
class _Step:
    """A map in a sequence and the vectors behind it; ``adjacent``: the first of these comes at once; ``gap``: something
    without parameters stands before the next map."""

    layer: Layer
    vectors: tuple[Layer, ...] = ()
    adjacent: bool = False
    gap: bool = False

    @property
    def norm(self) -> Layer | None:
        """The BatchNorm that follows at once."""
        first = self.vectors[0] if self.vectors and self.adjacent else None
        return first if first and _is_batch_norm(first) else None

    def coupled(self, other: _Step, out: int, into: int) -> Coupling | None:
        """The coupling with the next map, whose axes ``out`` and ``into`` meet; none where they don't fit."""
        size, read = self.layer.shape[out], other.layer.shape[into]
        flattens = len(self.layer.shape) > 2 == len(other.layer.shape)
        if len(self.layer.shape) != len(other.layer.shape) and not flattens:
            return None
        if read != size and not (flattens and self.gap and read % size == 0):
            return None
        return _between(self.layer, other.layer, self.vectors, adjacent=self.adjacent, size=size)


def _between(
    writer: Layer,
    reader: Layer,
    vectors: Sequence[Layer],
    *,
    adjacent: bool = False,
    size: int | None = None,
) -> Coupling | None:
    """A coupling with the vectors that stand between the two; none where they may mix units."""
    norm = later = None
    others: list[str] = []
    for vector in vectors:
        if vector.shape != (size or writer.shape[0],):
            if vector.shape != (1,):  # a PReLU that all units share
                return None
        elif _is_batch_norm(vector):
            if norm or later or others:
                return None
            is_next = adjacent or not _has_bias(
                writer
            )  # what a bias would do, a norm that follows at once does
            norm, later = (vector.name, None) if is_next else (None, vector.name)
        elif "shift" in vector.tensors and (len(writer.shape) > 2 or _is_of_groups(vector)):
            return None  # a norm of groups of channels, or of single ones
        else:
            others.append(vector.name)
    return Coupling(writer.name, reader.name, norm, later, tuple(others))


def _is_of_groups(layer: Layer) -> bool:
    """Whether a norm is named as one of groups (``gn1``, ``group_norm``, ``gn.0``)."""
    parts = layer.name.lower().split(".")
    return any("group" in part or part.rstrip("0123456789_") in ("gn", "gnorm") for part in parts)


def _is_batch_norm(layer: Layer) -> bool:
    return layer.is_norm and {"mean", "var"} <= layer.tensors.keys()


def _steps(run: Sequence[tuple[int, Layer]]) -> list[_Step]:
    """A run of numbered layers as maps and what follows each; vectors before the first map are left out."""
    steps: list[_Step] = []
    for (before, _), (number, layer) in zip([(-1, None), *run], run, strict=False):
        missing = number - before > 1
        if layer.kind in _MAPS and layer.has_weight:
            if steps:
                last = steps[-1]
                steps[-1] = _Step(last.layer, last.vectors, last.adjacent, missing)
            steps.append(_Step(layer))
        elif steps:
            last = steps[-1]
            adjacent = last.adjacent if last.vectors else not missing
            steps[-1] = _Step(last.layer, (*last.vectors, layer), adjacent)
    return steps


def _sides(steps: Sequence[_Step], has_plain: bool) -> list[tuple[int, int] | None]:
    """Of each map the dimensions of what it writes and what it reads; ``None`` where it may be transposed.

    A transposed convolution is (in, out, *kernel). The size of the norm behind it tells, or the widths of its
    neighbours; where it is square neither does: an even kernel is taken for a sign that it may be, as is one that is
    transposed beside it, or none that surely isn't. What reads only a part of what is written just before it has
    groups of channels.
    """
    found: list[tuple[int, int] | None] = []
    for step in steps:
        shape, norm = step.layer.shape, step.norm
        if len(shape) == 2:
            found.append((0, 1))
        elif shape[1] == 1 and _is_even(step.layer):
            found.append(None)
        elif _has_bias(step.layer) and shape[0] != shape[1]:
            found.append((0, 1))
        elif shape[0] == shape[1] or (norm is None and _is_even(step.layer)):
            found.append(None)
        else:
            found.append((1, 0) if norm and norm.shape == shape[1:2] else (0, 1))
    may_turn = (1, 0) in found or not has_plain
    for position, step in enumerate(steps):
        shape = step.layer.shape
        before = found[position - 1] if position else None
        written = steps[position - 1].layer.shape[before[0]] if before else None
        if found[position] is None and shape[0] != shape[1] and written in shape[:2]:
            found[position] = (0, 1) if written == shape[1] else (1, 0)
        elif found[position] is None and shape[0] == shape[1] and not may_turn and not _is_even(step.layer):
            found[position] = (0, 1)
        side = found[position]
        if side and written and len(shape) > 2 and written > shape[side[1]] and not written % shape[side[1]]:
            found[position] = None
    return found


class _Names:
    """Layers as a tree by the components of their names."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = {layer.name: layer for layer in layers}
        children: Mapping[str, dict[str, None]] = defaultdict(dict)
        self.inside: dict[str, list[Layer]] = defaultdict(list)
        """Module → all layers in it."""
        for name, layer in self.layers.items():
            parts = name.split(".")
            for depth in range(len(parts)):
                parent = ".".join(parts[:depth])
                children[parent][parts[depth]] = None
                self.inside[parent].append(layer)
        self.children = {parent: natsorted(found) for parent, found in children.items()}

    def direct(self, parent: str) -> list[Layer]:
        """The layers right under a module."""
        names = (self._path(parent, child) for child in self.children[parent])
        return [self.layers[name] for name in names if name in self.layers]

    def sequences(self, parent: str) -> list[list[tuple[int, Layer]]]:
        """Runs of layers, with their numbers, in a module that is taken for an ``nn.Sequential``: no other module
        stands between two of them."""
        children = self.children[parent]
        if not all(child.isdecimal() for child in children):
            return []
        numbers = [int(child) for child in children]
        layers = [self.layers.get(self._path(parent, child)) for child in children]
        has_norms = any(layer is not None and len(layer.shape) == 1 for layer in layers)
        if parent and not has_norms and numbers == list(range(len(numbers))):
            return []
        runs: list[list[tuple[int, Layer]]] = [[]]
        for number, layer in zip(numbers, layers, strict=True):
            if layer is not None and self._path(parent, str(number)) not in self.children:
                runs[-1].append((number, layer))
            else:
                runs.append([])
        return runs

    def _path(self, parent: str, child: str) -> str:
        return f"{parent}.{child}" if parent else child
