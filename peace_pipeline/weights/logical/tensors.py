"""A checkpoint's logical tensors: one a layer's weight or bias, whatever way the file stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from peace_pipeline.weights.checkpoint import Checkpoint, all_finite
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical.coverage import Coverage, coverage_of, joined_coverage
from peace_pipeline.weights.logical.experts import Joined, Within, with_experts
from peace_pipeline.weights.logical.fused import input_last, split
from peace_pipeline.weights.logical.gains import whole_gains
from peace_pipeline.weights.logical.names import bare, respelled, tied
from peace_pipeline.weights.logical.quantised import unscaled
from peace_pipeline.weights.logical.reparametrised import computed
from peace_pipeline.weights.logical.tables import tables
from peace_pipeline.weights.tensors import Settings, TensorInfo
from peace_pipeline.weights.views import Stored, View, Views, consecutive, taken

NewValues = Callable[[str, torch.Tensor], torch.Tensor | None]
"""A logical tensor's name and values, as stored → its new values; none for no change."""
_BLOCK = 2**22
"""How many values are compared at a time."""


class LogicalTensors:
    """The logical tensors of an open checkpoint, read as a :class:`Checkpoint`'s are; ``copies`` names views that
    only repeat another, and the other."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        views: Views,
        copies: Mapping[str, str],
        tables: Set[str] = frozenset(),
    ) -> None:
        self._checkpoint = checkpoint
        self.coverage = coverage_of(checkpoint.tensors, views, tables, checkpoint.averages)
        self._views = {name: view for name, view in views.items() if name not in copies}
        self._on: dict[str, list[tuple[str, View | Within]]] = {}
        """Name of a stored tensor → the views on it, each with the name of the logical tensor that it gives."""
        for name, view in views.items():
            for source in view.sources:
                own = view.within(source) if isinstance(view, Joined) else view
                self._on.setdefault(source, []).append((copies.get(name, name), own))
        self.tensors = {
            name: view.info if view.info.name == name else replace(view.info, name=name)
            for name, view in self._views.items()
        }

    @property
    def parameters(self) -> int:
        """Number of floating-point values."""
        return sum(info.size for info in self.tensors.values() if info.is_floating)

    @property
    def sampled(self) -> bool:
        """Whether a byte budget left something out."""
        return self._checkpoint.sampled

    def read(self, name: str, dtype: torch.dtype | None = torch.float32) -> torch.Tensor:
        """One tensor, converted to ``dtype`` (``None`` keeps its own).

        Raises:
            UnreadableCheckpoint: where it can't be had.
        """
        return self._views[name].read(self._checkpoint, dtype)

    def rewritten(self, stored: str, new: NewValues) -> torch.Tensor | None:
        """A stored tensor in which the logical ones had from it have new values; ``None`` where none has.

        Values are cast to the stored dtype once; what no logical tensor shows stays. A copy of a tied embedding gets
        the embedding's values: ``new`` may be asked for one tensor several times, and must give the same each time.

        Raises:
            UnsupportedFormat: where a tensor is to change that is computed from stored ones (quantised, normed), or
                holds values that are not finite.
            UnreadableCheckpoint: where the values can't be had.
            ValueError: where new values have another shape.
        """
        whole: torch.Tensor | None = None
        for name, view in self._on.get(stored, ()):
            old = self._views[name].read(self._checkpoint, None)
            values = new(name, old)
            if values is None:
                continue
            if values.shape != old.shape:
                raise ValueError(f"tensor {name!r} has shape {tuple(old.shape)}, not {tuple(values.shape)}")
            if whole is None:
                whole = self._checkpoint.raw(stored)
                if not all_finite(whole):
                    raise UnsupportedFormat(f"tensor {stored!r} holds values that are not finite: it stays")
            whole = view.put(whole, values)
        return whole


def logical(checkpoint: Checkpoint, config: Mapping[str, Any]) -> LogicalTensors:
    """The logical tensors of a checkpoint with this config.json (which may be empty, and wrong).

    Copies of the input embedding are left out, whatever the config says of them: what has other values is none (every
    T5's config calls it tied), what has the same is one. So are masks and tables that their values tell.

    Raises:
        UnsupportedFormat: where weights are quantised in a way that is not read, or of a type that isn't.
        UnreadableCheckpoint: where copies can't be compared.
    """
    views = views_of(checkpoint.tensors.values(), config, checkpoint.settings)
    known = tables(checkpoint, views)
    views = {name: view for name, view in views.items() if known.isdisjoint(view.sources)}
    copies = {
        copy: other
        for copy, other in tied(views).items()
        if _are_equal(views[copy], views[other], checkpoint)
    }
    network = LogicalTensors(checkpoint, views, copies, known)
    network.coverage.check()
    return network


def read_of(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Coverage:
    """Which bytes of a checkpoint become layers, also where so few do that the network is refused; of a whole those of
    its members, each read by its own config.

    Raises:
        UnreadableCheckpoint: where tables can't be looked at.
    """
    if checkpoint.members:
        return joined_coverage(
            {
                member.prefix: read_of(member.checkpoint, member.config(config))
                for member in checkpoint.members
            }
        )
    try:
        views = views_of(checkpoint.tensors.values(), config, checkpoint.settings)
    except UnsupportedFormat:
        views = {info.name: Stored(info) for info in checkpoint.tensors.values()}
    known = tables(checkpoint, views)
    return coverage_of(
        checkpoint.tensors,
        {name: view for name, view in views.items() if known.isdisjoint(view.sources)},
        known,
        checkpoint.averages,
    )


def in_library(checkpoint: Checkpoint, config: Mapping[str, Any]) -> LogicalTensors:
    """The tensors of a checkpoint as a library would load them: under the network's own names, none quantised, buffers
    among them, and else as they are stored.

    Raises:
        UnsupportedFormat: where weights are quantised in a way that is not read.
    """
    views = bare({info.name: Stored(info) for info in checkpoint.tensors.values()}, with_buffers=True)
    return LogicalTensors(checkpoint, unscaled(views, config), {})


def _are_equal(copy: View, other: View, checkpoint: Checkpoint) -> bool:
    """Whether a tensor has another's values in its own dtype, as far as the same parts of them are had."""
    if copy.info.part != other.info.part:
        return True
    for block, others in zip(_blocks(copy), _blocks(other), strict=True):
        values = block.read(checkpoint, None)
        if not torch.equal(values, others.read(checkpoint, values.dtype)):
            return False
    return True


def _blocks(view: View) -> list[View]:
    """A large tensor in blocks of rows, so as to have little of it at a time; of the first, which mostly tells, one."""
    info = view.info
    if info.part or info.size <= _BLOCK:
        return [view]
    width = max(1, _BLOCK * info.shape[0] // info.size)
    rows = consecutive([1, *(min(width, info.shape[0] - start) for start in range(1, info.shape[0], width))])
    return [block for own in rows if (block := taken(view, own))]


def views_of(
    tensors: Iterable[TensorInfo], config: Mapping[str, Any], settings: Settings = MappingProxyType({})
) -> Views:
    """Logical name → how that tensor is had from the stored ones, in the order of the latter; without buffers.
    ``settings`` are those that a file says itself."""
    views = bare({info.name: Stored(info) for info in tensors})
    views = computed(unscaled(views, config))
    views = whole_gains(respelled(views), config, settings)
    return split(input_last(with_experts(views), config), config)
