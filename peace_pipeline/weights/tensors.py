"""What a weight file looks like to the rest: named tensors in PyTorch's layout, each read when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from peace_pipeline.weights.extents import Place

MAX_TENSORS = 250_000
"""Of a model."""
MAX_DIMENSIONS = 16
MAX_NAME = 1024
"""Characters."""


@dataclass(frozen=True)
class Part:
    """The part of a tensor that a byte budget allowed: blocks [start, stop) along ``axis``, in order."""

    axis: int
    blocks: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Number of positions."""
        return sum(stop - start for start, stop in self.blocks)

    @property
    def index(self) -> torch.Tensor:
        """The positions along the axis."""
        return torch.cat([torch.arange(start, stop) for start, stop in self.blocks])


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype (``float32``, ``int64``, …) of one tensor as it is read.

    ``stored`` is how the file encodes it where that is something else (``q4_k``, ``qint8``); ``eps`` is the epsilon
    that the file gives for a norm, on its running variance or else on its gain; with a ``part`` reading gives that
    part alone. ``note``: the values of a small tensor that says how others are packed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str | None = None
    eps: float | None = None
    part: Part | None = None
    note: tuple[int, ...] = ()

    @property
    def is_floating(self) -> bool:
        return "float" in self.dtype

    @property
    def size(self) -> int:
        """Number of values of the whole tensor."""
        return torch.Size(self.shape).numel()


class TensorFile(Protocol):
    """An open weight file.

    Names are those that PyTorch would give (``fc.weight``, ``bn.running_var``, ``lstm.weight_ih_l0``), and so is the
    layout: (out, in, *kernel), recurrent gates in the order i, f, g, o or r, z, n. A tensor that is stored once under
    several names is listed under the first.
    """

    def inventory(self) -> Iterable[TensorInfo]:
        """Every tensor, without its data, in the file's order."""

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """A tensor in its own dtype, or its rows [start, stop) along the first axis.

        Raises:
            UnreadableCheckpoint: where it can't be had.
        """


@runtime_checkable
class InPieces(Protocol):
    """A weight file whose tensors can also be read in small pieces, by several threads at once."""

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The values of a tensor in order, as flat tensors."""


Settings = Mapping[str, str | int | float | None]
"""The metadata of a GGUF file by key; ``None`` where a value is a list or a long text."""


@runtime_checkable
class Described(Protocol):
    """A weight file that says of what network it is."""

    @property
    def settings(self) -> Settings:
        """What it says."""


@dataclass(frozen=True)
class Passage:
    """Units that go from one layer to another, by their names, and nowhere else; nothing on the way tells one from
    another by its place. Where something does, or they come out of the network, ``reader`` is empty and ``end`` says
    what it is.

    ``activations`` act on them, in this order; ``norm`` is the BatchNorm that comes before these; ``is_pooled``:
    channels are pooled over their places. Layers that are ``turned`` are transposed convolutions (in, out, *kernel).
    """

    writer: str
    reader: str
    activations: tuple[str, ...] = ()
    norm: str | None = None
    is_pooled: bool = False
    turned: tuple[str, ...] = ()
    end: str = ""


@runtime_checkable
class Flowing(Protocol):
    """A weight file that holds what is computed with its weights."""

    @property
    def passages(self) -> Sequence[Passage]:
        """What of the flow of data is certain."""


@runtime_checkable
class Computing(Protocol):
    """A weight file that holds what is computed beside layers."""

    @property
    def functions(self) -> Mapping[str, int] | None:
        """How often each function of single units, or of their places, is computed; ``None`` where this file doesn't
        say it."""


@runtime_checkable
class Averaging(Protocol):
    """A weight file that may hold averages over training, or other copies, of its network, which it doesn't list."""

    @property
    def averages(self) -> int:
        """Their bytes."""


@runtime_checkable
class ByPosition(TensorFile, Protocol):
    """A weight file that keeps tensors as plain numbers, which can be overwritten where they lie."""

    def places(self, name: str) -> Sequence[Place]:
        """Where a tensor lies: its blocks of rows, one after another (for most tensors one).

        Raises:
            UnreadableCheckpoint: where the file keeps this one in another way (quantised, compressed).
        """


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` → ``float32``."""
    return str(dtype).removeprefix("torch.")
