"""A batch's networks → one vector a network, one a layer and one an output, by the current encoder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, batch_names, write_parquet
from peace_pipeline.lake.tables import (
    EMBEDDING_OUTCOMES,
    LAYER_EMBEDDINGS,
    NETWORK_EMBEDDINGS,
    OUTPUT_EMBEDDINGS,
)
from peace_pipeline.progress import Progress

if TYPE_CHECKING:
    from peace_pipeline.encoder.embed import Embedding
    from peace_pipeline.responses.answers import Response
    from peace_pipeline.stages.outcome import BatchOutcome

NETWORK, LAYER, OUTPUT, OUTCOMES = "network", "layer", "output", "outcomes"


def embed_batch(lake: Lake, batch: str, progress: Progress | None = None) -> tuple[str, BatchOutcome]:
    """Embed a batch's networks, with the responses of those that were run, with the current encoder, and write down
    what became of each; returns the encoder's version and how many there were.

    Raises:
        NoEncoder: where there is none.
    """
    from peace_pipeline.encoder import store
    from peace_pipeline.encoder.embed import Unembeddable, embed
    from peace_pipeline.responses.table import read_responses
    from peace_pipeline.stages.outcome import BatchOutcome, Outcome
    from peace_pipeline.symmetry.stored import read_networks, read_wirings

    version, encoder = store.load(lake)
    store.keep(lake, version)
    wirings, revisions = read_wirings(lake, batch), _revisions(lake, batch)
    responses = read_responses(lake, batch)
    embedded_at = datetime.now(UTC)
    networks: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    for found in embed(encoder, read_networks(lake, batch), responses=responses):
        model = {"model_id": found.key, "revision": revisions[found.key], "encoder_version": version}
        reason = found.reason if isinstance(found, Unembeddable) else None
        outcomes.append(model | Outcome(found.key, revisions[found.key], reason).as_row())
        if not isinstance(found, Unembeddable):
            answers = responses.get(found.key)
            assumed = {"embedded_at": embedded_at, "assumes": wirings[found.key].assumes}
            networks.append(model | assumed | _network_row(found, answers))
            outputs += [model | row for row in _output_rows(found, answers)]
            names = [wired.layer for wired in wirings[found.key].layers]
            layers += [
                model | {"layer": position, "name": layer.name, "kind": layer.kind, "vector": vector}
                for position, (layer, vector) in enumerate(zip(names, found.layers, strict=True))
            ]
        if progress:
            progress(len(outcomes), len(wirings))
    sizes = {"vector": encoder.config.dimension, "weights": encoder.config.learned}
    for level, rows, schema in (
        (LAYER, layers, LAYER_EMBEDDINGS.sized(vector=encoder.config.token_width)),
        (OUTPUT, outputs, OUTPUT_EMBEDDINGS.sized(vector=encoder.config.token_width)),
        (OUTCOMES, outcomes, EMBEDDING_OUTCOMES.schema),
        (NETWORK, networks, NETWORK_EMBEDDINGS.sized(**sizes)),
    ):
        write_parquet(pa.Table.from_pylist(rows, schema=schema), lake.embeddings(level, version, batch))
    return version, BatchOutcome.of(outcomes)


def _network_row(found: Embedding, answers: Response | None) -> dict[str, Any]:
    sketch = found.responses
    told = (
        sketch if sketch is not None and sketch.any() else None
    )  # one that always answers alike says nothing
    run_by = answers.run_by if answers and sketch is not None else None
    return {"run_by": run_by, "vector": found.network, "weights": found.weights, "responses": told}


def _output_rows(found: Embedding, answers: Response | None) -> list[dict[str, Any]]:
    """A row an output, in order, with its label where it has one."""
    vectors = () if found.outputs is None else found.outputs
    labels = (answers and answers.labels) or ()
    return [
        {"place": place, "label": labels[place] if place < len(labels) else None, "vector": vector}
        for place, vector in enumerate(vectors)
    ]


def _revisions(lake: Lake, batch: str) -> dict[str, str]:
    table = pq.read_table(lake.wirings(batch), columns=["model_id", "revision"])
    return dict(zip(table["model_id"].to_pylist(), table["revision"].to_pylist(), strict=True))


def embedded_batches(lake: Lake, version: str) -> set[str]:
    """Batches whose embeddings of this encoder version are in the lake; those that an earlier version of PEACE wrote
    lack the outputs, and don't count."""
    levels = (NETWORK, LAYER, OUTPUT)
    return set.intersection(*(batch_names(lake.embeddings(level, version, "x").parent) for level in levels))


def written_at(lake: Lake, version: str, batches: Iterable[str]) -> dict[str, int]:
    """Batch → when its embeddings were written (nanoseconds since 1970)."""
    folder, suffix = os.path.split(lake.embeddings(NETWORK, version, ""))
    return {batch: os.stat(f"{folder}/{batch}{suffix}").st_mtime_ns for batch in batches}


def unembedded_models(lake: Lake, version: str, batch: str) -> list[dict[str, str]]:
    """Model id and reason of every network of the batch that this encoder version could not embed."""
    from peace_pipeline.stages.outcome import skipped_in

    path = lake.embeddings(OUTCOMES, version, batch)
    return skipped_in(path) if path.exists() else []
