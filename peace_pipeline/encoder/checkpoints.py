"""Embedding checkpoints that somebody asks for by name; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import Embedding, Unembeddable, embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.fetching import Fetcher


@dataclass(frozen=True)
class EmbeddedCheckpoint:
    """What embedding one path gave: a vector of unit norm (as Python floats), or the reason why there is none.

    ``embedding`` is all that it gave.
    """

    path: str
    encoder_version: str
    parameters: int | None = None
    wiring: str | None = None
    sampled: bool = False
    vector: list[float] | None = None
    error: str | None = None
    embedding: Embedding | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object: with ``error`` instead of what could not be had."""
        if self.error is not None:
            return {"path": self.path, "encoder_version": self.encoder_version, "error": self.error}
        return {name: value for name, value in vars(self).items() if name not in ("error", "embedding")}


def embed_checkpoints(
    lake: Lake,
    names: Iterable[str],
    fetcher: Fetcher | None = None,
    *,
    dtype: str = "float32",
    version: str | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> Iterator[EmbeddedCheckpoint]:
    """Embed checkpoints, named as :func:`open_network` takes them, in the order given, with the current encoder or that
    of ``version``. At most ``budget`` bytes of each are read.

    One that can't be embedded gives its reason and does not stop the others.

    Raises:
        NoEncoder: where the lake has none.
    """
    version, encoder = store.load(lake, version)
    names = list(names)
    for done, name in enumerate(names, 1):
        try:
            with model_errors():
                yield _embed(lake, encoder, version, name, fetcher, getattr(torch, dtype), budget)
        except (UnusableModel, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            yield EmbeddedCheckpoint(name, version, error=reason)
        if progress:
            progress(done, len(names))


def _embed(
    lake: Lake,
    encoder: Encoder,
    version: str,
    name: str,
    fetcher: Fetcher | None,
    dtype: torch.dtype,
    budget: int | None,
) -> EmbeddedCheckpoint:
    with open_network(lake, name, fetcher, budget=budget) as network:
        (embedding,) = embed(encoder, [network.in_memory(name, dtype)], dtype)
        if isinstance(embedding, Unembeddable):
            raise UnusableModel(embedding.reason)
        return EmbeddedCheckpoint(
            name,
            version,
            network.logical.parameters,
            network.wiring.method,
            network.logical.sampled,
            embedding.network.tolist(),
            embedding=embedding,
        )


def write_embedded(rows: Iterable[EmbeddedCheckpoint], path: Path, dtype: str = "float32") -> None:
    """Write embedded checkpoints to a Parquet file, those that failed with a null ``vector``."""
    schema = pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("encoder_version", pa.string(), nullable=False),
            ("parameters", pa.int64()),
            ("wiring", pa.string()),
            pa.field("sampled", pa.bool_(), nullable=False),
            ("vector", pa.list_(pa.type_for_alias(dtype))),
            ("error", pa.string()),
        ]
    )
    write_parquet(pa.Table.from_pylist([vars(row) for row in rows], schema=schema), path)
