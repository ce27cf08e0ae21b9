"""What the index costs, and what it finds, by its number of rows: made of vectors like the lake's own, in the index's
own tables, and searched as users search."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peace_pipeline.index.search import search
from peace_pipeline.index.tables import MODELS, connect, maintain, open_or_create
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress

Vectors = NDArray[np.float32]
K, BLOCK = 10, 10_000
ROUNDING = 1e-6
"""Of a cosine in float32."""
PATIENCE, FEWEST = 60.0, 10
"""Searches of one kind stop after so many seconds, but not before there were so many."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Searches:
    """``latency`` is quantile → seconds of a search for ten models, the opening of the table with it; ``recall`` which
    share of the ten nearest were found."""

    count: int
    latency: dict[str, float]
    recall: float


@dataclass(frozen=True)
class IndexCost:
    """Of a table: seconds to write its rows and to build all its indexes, bytes on disk of the rows and of the indexes,
    and searches without the approximate index (every row is compared) and with it."""

    written: float
    built: float
    row_bytes: float
    index_bytes: float
    exact: Searches
    indexed: Searches


@dataclass(frozen=True)
class Crowd:
    """Made-up vectors (networks, length) of unit norm, as near to each other as those of ``real`` networks: each is a
    real one, moved at random by as much as those are apart from their nearest neighbours."""

    real: Vectors
    step: float

    @classmethod
    def of(cls, real: Vectors) -> Crowd:
        """Around these vectors (at least two)."""
        cosine = real @ real.T
        np.fill_diagonal(cosine, -1)
        return cls(real, float(np.sqrt(np.maximum(2 - 2 * np.median(cosine.max(1)), 1e-6))))

    def draw(self, count: int, generator: np.random.Generator) -> Vectors:
        """So many of them."""
        length = self.real.shape[1]
        moved = generator.standard_normal((count, length), np.float32) * np.float32(
            self.step / np.sqrt(length)
        )
        return _unit(self.real[generator.integers(len(self.real), size=count)] + moved)


def by_rows(
    real: Vectors,
    sizes: Sequence[int],
    parts: dict[str, int],
    *,
    queries: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[int, IndexCost]:
    """Rows → the cost of a table of so many; ``parts`` are the lengths of the vectors of each sense, which are cut out
    of the ``real`` ones."""
    crowd, found = Crowd.of(real), {}
    for done, rows in enumerate(sorted(sizes)):
        if progress:
            progress(done, len(sizes))
        with tempfile.TemporaryDirectory(prefix="peace-") as folder:
            found[rows] = _measured(Lake.open(Path(folder) / "lake"), crowd, rows, parts, queries, seed)
    return found


def _measured(
    lake: Lake, crowd: Crowd, rows: int, parts: dict[str, int], queries: int, seed: int
) -> IndexCost:
    asked = crowd.draw(queries, np.random.default_rng((seed, rows)))
    nearest = _Nearest(asked)
    table = open_or_create(connect(lake), MODELS, {"vector": crowd.real.shape[1], **parts})
    start = time.perf_counter()
    spent = 0.0
    for batch, vectors in _batches(table.schema, crowd, rows, parts, seed):
        begun = time.perf_counter()
        nearest.see(vectors)
        spent += time.perf_counter() - begun
        table.add(batch)
    written = time.perf_counter() - start - spent
    row_bytes = _bytes(lake.index)
    exact = _searched(lake, asked, nearest.cosine)
    start = time.perf_counter()
    maintain(table, MODELS, thoroughly=True, exact_rows=0)
    built = time.perf_counter() - start
    indexed = _searched(lake, asked, nearest.cosine)
    return IndexCost(written, built, row_bytes, _bytes(lake.index) - row_bytes, exact, indexed)


def _batches(
    schema: pa.Schema, crowd: Crowd, rows: int, parts: dict[str, int], seed: int
) -> Iterator[tuple[pa.Table, Vectors]]:
    """The rows in blocks, and their vectors."""
    generator = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        vectors = crowd.draw(min(BLOCK, rows - start), generator)
        columns = {"vector": vectors}
        begin = 0
        for name, length in parts.items():
            columns[name] = _unit(vectors[:, begin : begin + length])
            begin += length
        ids = pa.array([_id(row) for row in range(start, start + len(vectors))])
        yield (
            pa.table(
                [
                    ids
                    if field.name == MODELS.key
                    else _listed(columns[field.name])
                    if field.name in columns
                    else pa.nulls(len(vectors), field.type)
                    for field in schema
                ],
                schema=schema,
            ),
            vectors,
        )


class _Nearest:
    """How near the nearest rows are to each query (queries, length): of blocks that pass by."""

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries
        self.cosine = np.empty((len(queries), 0), np.float32)

    def see(self, vectors: Vectors) -> None:
        """The next block (rows, length)."""
        cosine = np.concatenate([self.cosine, self._queries @ vectors.T], 1)
        self.cosine = -np.sort(-cosine, axis=1)[:, :K]


def _searched(lake: Lake, queries: Vectors, nearest: Vectors) -> Searches:
    """``nearest`` (queries, K) are the cosines of the nearest rows: what is as near as they has been found."""
    search(lake, queries[0], k=K)  # what is loaded late, and the page cache
    seconds: list[float] = []
    found = 0
    for query, least in zip(queries, nearest[:, -1], strict=True):
        start = time.perf_counter()
        hits = search(lake, query, k=K)
        seconds.append(time.perf_counter() - start)
        found += sum((hit.similarity or 0) >= least - ROUNDING for hit in hits)
        if len(seconds) >= FEWEST and sum(seconds) > PATIENCE:
            break
    latency = {name: float(np.quantile(seconds, share)) for name, share in QUANTILES.items()}
    return Searches(len(seconds), latency, found / (len(seconds) * nearest.shape[1]))


def _id(row: int) -> str:
    return f"network-{row:08}"


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))


def _listed(vectors: Vectors) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def _bytes(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
