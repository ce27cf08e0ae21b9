"""A byte budget: a fair part of every tensor, whole rows at seeded places, instead of all of them.

Every tensor may take the same number of bytes (max-min fairness): small ones are read whole, and what they leave
is shared by the others. A tensor's rows are cut into strata, and in each of them rows are read from a place on that is
a hash of the number of rows and a seed; so tensors with equally many rows are read at the same rows, as far as their
shares reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from blake3 import blake3

from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.tensors import Part, TensorFile, TensorInfo

MOST_STRATA = 8
"""Into which the rows of a tensor are cut: each costs one request of a remote file, or two."""

LEAST_STRATA, REQUESTS = 4, 512
"""With many tensors there are fewer strata of each, for so many requests in all; of four each fused part has some."""

_PLACES = 1 << 20
_SEED = 0


@dataclass(frozen=True)
class Sampled:
    """An open weight file of which ``infos`` says what part of each tensor is read."""

    file: TensorFile
    infos: Mapping[str, TensorInfo]

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        return self.infos.values()

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """The tensor's part, or those of the part's rows."""
        part = self.infos[name].part
        if part is None:
            return self.file.read(name, rows)
        blocks = part.blocks if rows is None else _cut(part.blocks, *rows)
        return torch.cat([self.file.read(name, block) for block in blocks])


def sample(files: Mapping[str, TensorFile], budget: int) -> dict[str, Sampled]:
    """The files of a model, read up to ``budget`` bytes in all.

    Raises:
        ExcessiveSize: where one row of every tensor takes more than that.
    """
    inventories = {path: list(file.inventory()) for path, file in files.items()}
    infos = [info for infos in inventories.values() for info in infos]
    sizes = [bytes_of(info) for info in infos]
    least = sum(map(_row_bytes, infos))
    if least > budget:
        raise ExcessiveSize(
            f"one row of every tensor takes {least:,} bytes, more than the {budget:,} of the budget that are left"
        )
    share = fair_share(sizes, list(map(_row_bytes, infos)), budget)
    strata = min(MOST_STRATA, max(LEAST_STRATA, REQUESTS // max(1, sum(size > share for size in sizes))))
    sampled = {
        path: Sampled(file, {info.name: _limited(info, share, strata) for info in inventories[path]})
        for path, file in files.items()
    }
    return sampled


def fair_share(sizes: Sequence[int], least: Sequence[int], budget: int) -> int:
    """The largest share s ≤ max(sizes) with Σ clip(s, least, size) ≤ budget (max-min fairness).

    Σ least may not exceed the budget.
    """
    most, fewest = np.array([0, *sizes], dtype=np.int64), np.array([0, *least], dtype=np.int64)
    fits, exceeds = 0, int(most.max()) + 1
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if sum(np.clip(middle, fewest, most).tolist()) <= budget:
            fits = middle
        else:
            exceeds = middle
    return fits


def bytes_read(info: TensorInfo) -> int:
    """Bytes of a tensor that are read."""
    if info.part is None:
        return bytes_of(info)
    return info.part.size * _row_bytes(info)


def _row_bytes(info: TensorInfo) -> int:
    """Bytes that a tensor takes at least."""
    return bytes_of(info) // max(info.shape[0], 1) if info.shape else bytes_of(info)


def bytes_of(info: TensorInfo) -> int:
    """Bytes of the whole tensor as it is read."""
    return info.size * getattr(torch, info.dtype).itemsize


def _limited(info: TensorInfo, share: int, strata: int) -> TensorInfo:
    size = bytes_of(info)
    if size <= share or not info.shape:
        return info
    rows = max(1, share // _row_bytes(info))
    return (
        replace(info, part=Part(0, tuple(_row_blocks(info.shape[0], rows, strata))))
        if rows < info.shape[0]
        else info
    )


def _row_blocks(height: int, rows: int, strata: int) -> Iterator[tuple[int, int]]:
    """Blocks of ``rows`` rows in all, in ascending order; those of fewer rows are among those of more.

    The rows of very long tensors are taken some at a time.
    """
    some = -(-height // _PLACES)
    taken = np.sort(_order(height // some, strata)[: max(1, rows // some)])
    gaps = np.flatnonzero(np.diff(taken) > 1)
    starts, stops = taken[[0, *(gaps + 1)]] * some, (taken[[*gaps, -1]] + 1) * some
    return zip(starts.tolist(), stops.tolist(), strict=True)


@lru_cache(64)
def _order(height: int, strata: int) -> np.ndarray:
    """All rows in the order in which they are taken: of each stratum in turn the next after those it gave."""
    edges = np.linspace(0, height, min(height, strata) + 1).astype(int)
    size = np.diff(edges)
    first = np.array([_hash(height, place) for place in range(len(size))]) % size
    stratum = np.repeat(np.arange(len(size)), size)
    turn = (np.arange(height) - edges[stratum] - first[stratum]) % size[stratum]
    return np.argsort((turn + stratum / len(size)) / size[stratum], kind="stable")


def _hash(*key: int) -> int:
    return int.from_bytes(blake3(repr((_SEED, *key)).encode()).digest(4))


def _cut(blocks: tuple[tuple[int, int], ...], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The rows [start, stop) of the rows that ``blocks`` hold."""
    for first, last in blocks:
        low, high = max(start, 0), min(stop, last - first)
        if low < high:
            yield first + low, first + high
        start, stop = start - (last - first), stop - (last - first)
