"""HDF5 files: Keras' whole models and weight files in PyTorch's names and layout, others as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import torch

from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.formats.hdf5_process import BFLOAT16, Hdf5Reader, open_reader
from peace_pipeline.weights.formats.keras_config import Node, configuration
from peace_pipeline.weights.formats.keras_flow import functions, passages
from peace_pipeline.weights.formats.keras_layout import Source, sources
from peace_pipeline.weights.local_blob import local_blob
from peace_pipeline.weights.tensors import TensorInfo

Texts = Mapping[tuple[str, str], str]
_SHARD = re.compile(r"(.+_)(\d{5})(\.weights\.h5)")


class Hdf5File:
    """An HDF5 file that a reader has open, of a network with this configuration, if it is known; ``before`` are the
    texts of the shard before it, which holds the name of a layer that it begins."""

    def __init__(
        self, reader: Hdf5Reader, network: Node | None, before: Texts = MappingProxyType({})
    ) -> None:
        self._reader = reader
        self._sources = sources(reader.name, reader.datasets, {**before, **reader.texts}, network)
        self.passages = passages(network) if network else []
        """See :class:`Flowing`."""
        self.functions = functions(network) if network else None
        """See :class:`Computing`."""

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for name, source in self._sources.items():
            dataset = self._reader.datasets[source.path]
            yield TensorInfo(name, source.shape(dataset), dataset.type, eps=source.eps)

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        source = self._sources[name]
        shape = source.shape(self._reader.datasets[source.path])
        if not shape:
            return self._box(source, []).reshape(())
        start, stop = rows or (0, shape[0])
        parts = [self._rows(source, shape, *block) for block in source.blocks(shape[0], start, stop)]
        return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)

    def _rows(self, source: Source, shape: tuple[int, ...], start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop) of a tensor with its gates in the dataset's order."""
        dataset = self._reader.datasets[source.path]
        first, *faster = source.axes[0]
        width = max(math.prod(dataset.shape[axis] for axis in faster), 1)
        box = [(0, size) for size in dataset.shape]
        box[first] = (start // width, -(-stop // width))
        if source.row is not None:
            box[0] = (source.row, source.row + 1)
        whole = (box[first][1] - box[first][0]) * width
        skipped = start - box[first][0] * width
        return self._box(source, box).reshape(whole, *shape[1:])[skipped : skipped + stop - start]

    def _box(self, source: Source, box: list[tuple[int, int]]) -> torch.Tensor:
        """A part of a dataset with its axes in the tensor's order."""
        values = torch.from_numpy(self._reader.read(source.path, tuple(box)))
        if self._reader.datasets[source.path].type == BFLOAT16:
            values = values.view(torch.bfloat16)
        return values.permute(source.order)


@contextmanager
def open_file(path: Path) -> Iterator[Hdf5File]:
    """Open an HDF5 file.

    Raises:
        UnreadableCheckpoint: where it is damaged, claims what it can't hold, or refers to other files.
    """
    with local_blob(path) as blob, open_reader(blob.name, blob.fileno(), 0, blob.size) as reader:
        config = reader.texts.get(("", "model_config"))
        yield Hdf5File(reader, configuration(blob.name, config) if config else None, _before(path))


def _before(path: Path) -> Texts:
    """The texts of the shard before one of Keras; none where it is the first, or none at all."""
    shard = _SHARD.fullmatch(path.name)
    before = path.with_name(f"{shard[1]}{int(shard[2]) - 1:05}{shard[3]}") if shard else path
    if before == path or not before.is_file():
        return {}
    try:
        with local_blob(before) as blob, open_reader(blob.name, blob.fileno(), 0, blob.size) as reader:
            return reader.texts
    except UnreadableCheckpoint:  # which is said when it is opened itself
        return {}
