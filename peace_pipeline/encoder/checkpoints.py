"""Embedding checkpoints that somebody asks for by name, run where they can be; nothing is stored."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import Embedding, Unembeddable, embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.lake import Lake, atomic, write_parquet
from peace_pipeline.progress import Progress
from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.runners.model import Model
from peace_pipeline.responses.running import OFF, Limits, ready, run
from peace_pipeline.responses.standard import HEADLESS
from peace_pipeline.symmetry.opening import OpenNetwork, open_network
from peace_pipeline.weights.checkpoint import models_at
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import AUTO


@dataclass(frozen=True)
class EmbeddedCheckpoint:
    """What embedding one path gave: a vector of unit norm (as Python floats), or the reason why there is none.

    ``reason`` says why it was wired so; ``embedding`` is all that it gave; ``not_run`` says why it was embedded by its
    weights alone, where it was.
    """

    path: str
    encoder_version: str
    parameters: int | None = None
    wiring: str | None = None
    assumes: tuple[str, ...] = ()
    reason: str | None = None
    sampled: bool = False
    vector: list[float] | None = None
    error: str | None = None
    embedding: Embedding | None = None
    not_run: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object: with ``error`` instead of what could not be had."""
        if self.error is not None:
            return {"path": self.path, "encoder_version": self.encoder_version, "error": self.error}
        return {
            name: value for name, value in vars(self).items() if name not in ("error", "embedding", "not_run")
        }


def embed_checkpoints(
    lake: Lake,
    names: Iterable[str],
    fetcher: Fetcher | None = None,
    *,
    dtype: str = "float32",
    version: str | None = None,
    budget: int | None = None,
    responses: str = AUTO,
    progress: Progress | None = None,
) -> Iterator[EmbeddedCheckpoint]:
    """Embed checkpoints, named as :func:`open_network` takes them, in the order given, with the current encoder or that
    of ``version``; a folder of several networks stands for all of them. At most ``budget`` bytes of each are read;
    which are run, ``responses`` says (``never``, ``auto``, ``always``).

    One that can't be embedded gives its reason and does not stop the others.

    Raises:
        NoEncoder: where the lake has none.
    """
    version, encoder = store.load(lake, version)
    names = [model for name in names for model in models_at(name)]
    for done, name in enumerate(names, 1):
        try:
            with model_errors():
                yield _embed(
                    lake, encoder, version, name, fetcher, getattr(torch, dtype), budget, Limits.of(responses)
                )
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
    limits: Limits | None,
) -> EmbeddedCheckpoint:
    with open_network(lake, name, fetcher, budget=budget) as network:
        answers = _answers(name, network, limits)
        responses = {name: answers} if isinstance(answers, Response) and answers.outputs.size else {}
        (embedding,) = embed(encoder, [network.in_memory(name, dtype)], dtype, responses=responses)
        if isinstance(embedding, Unembeddable):
            raise UnusableModel(embedding.reason)
        return EmbeddedCheckpoint(
            name,
            version,
            network.logical.parameters,
            network.common.method,
            network.common.assumes,
            network.common_reason,
            network.logical.sampled,
            embedding.network.tolist(),
            embedding=embedding,
            not_run=_silent(answers),
        )


def _answers(name: str, network: OpenNetwork, limits: Limits | None) -> Response | NotRun:
    if limits is None:
        return NotRun(name, OFF)
    if network.folder is None:
        return NotRun(name, "its folder is not known")
    found = ready(Model(name, network.checkpoint, network.config, network.folder), limits)
    return found if isinstance(found, NotRun) else next(run([found], limits))


def _silent(answers: Response | NotRun) -> str | None:
    if isinstance(answers, NotRun):
        return answers.reason
    return None if answers.outputs.size else HEADLESS


def write_embedded(rows: Iterable[EmbeddedCheckpoint], path: Path, dtype: str = "float32") -> None:
    """Write embedded checkpoints to a Parquet file, those that failed with a null ``vector``; or to a CSV file, where
    lists are JSON, if the path says so."""
    schema = pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("encoder_version", pa.string(), nullable=False),
            ("parameters", pa.int64()),
            ("wiring", pa.string()),
            ("assumes", pa.list_(pa.string())),
            ("reason", pa.string()),
            pa.field("sampled", pa.bool_(), nullable=False),
            ("vector", pa.list_(pa.type_for_alias(dtype))),
            ("error", pa.string()),
        ]
    )
    table = pa.Table.from_pylist([vars(row) for row in rows], schema=schema)
    if path.suffix.lower() == ".csv":
        _write_csv(table, path)
    else:
        write_parquet(table, path)


def _write_csv(table: pa.Table, path: Path) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.schema.names)
        for row in table.to_pylist():
            writer.writerow(json.dumps(value) if isinstance(value, list) else value for value in row.values())
