"""Every Parquet table of the lake, described once: its columns, its key, where it lies and what its rows must be like.

The contracts (:mod:`peace_pipeline.lake.violations`), the asset checks and the paths of a lake follow from this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

NEW, SKIPPED, DELETED = "new", "skipped", "deleted"
"""What a row says of its model: it is there, it was left out for the ``reason``, it is gone."""
FORGOTTEN, REMEMBERED = "forgotten", "to be found anew"
"""The reasons of models that somebody left out (crawls leave them alone as long as they don't change), and of those
that the next crawl shall find again."""


@dataclass(frozen=True)
class Table:
    """A Parquet table.

    ``asset`` writes it to ``path`` under the lake's root, where the names in braces are given by the caller. Rows are
    unique by ``key``. A column that may not be null may not be an empty text either; ``values`` lists what a column
    may hold, ``counts`` names integers that are never negative. Skipped rows have a reason, ``VECTORS`` have norm 1,
    and lists of ``values`` are not empty, in every table that has such columns.
    """

    name: str
    asset: str
    path: str
    schema: pa.Schema
    key: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: tuple[str, ...] = ()

    def under(self, root: Path, **parts: str) -> Path:
        """Where the table lies in a lake; a part may be a pattern."""
        return root / self.path.format(**parts)

    @property
    def is_by_batch(self) -> bool:
        """Whether each batch has its file, written by an asset that has batches as partitions."""
        return "{batch}" in self.path and self.asset != "zoo_crawl"

    def sized(self, **sizes: int) -> pa.Schema:
        """The schema with vectors of these ``sizes``, by column."""
        return sized(self.schema, sizes)


def sized(schema: pa.Schema, sizes: Mapping[str, int]) -> pa.Schema:
    """The ``schema`` with a fixed size for each column of vectors that ``sizes`` names."""
    for name, size in sizes.items():
        position = schema.get_field_index(name)
        vectors = schema.field(position).with_type(pa.list_(pa.float32(), size))
        schema = schema.set(position, vectors)
    return schema


def _required(name: str, kind: pa.DataType | None = None) -> pa.Field:
    return pa.field(name, kind or pa.string(), nullable=False)


VECTORS = ("vector", "weights", "responses")
"""Columns of vectors, which all have norm 1: a network's (or a layer's, an output's), and of a network those that say
what its weights alone, and its answers alone, tell of it."""
_VECTOR = pa.list_(pa.float32())
_TEXTS = pa.list_(pa.string())
_STATUS = {"status": (NEW, SKIPPED, DELETED)}
_MODEL = [_required("model_id"), _required("revision")]
_OUTCOME = [*_MODEL, _required("status"), ("reason", pa.string()), ("passing", pa.bool_())]
_TIME = pa.timestamp("us", tz="UTC")
_FILE = pa.struct(
    [("path", pa.string()), ("size", pa.int64()), ("sha256", pa.string()), ("format", pa.string())]
)
_TENSOR = pa.struct(
    [("name", pa.string()), ("shape", pa.list_(pa.int64())), ("dtype", pa.string()), ("hash", pa.string())]
)

MODEL_RECORDS = Table(
    "model_records",
    "zoo_crawl",
    "zoo/{batch}.parquet",
    pa.schema(
        [
            _required("source"),
            *_MODEL,
            _required("uri"),
            ("etag", pa.string()),
            ("files", pa.list_(_FILE)),
            ("architecture", pa.string()),
            ("library", pa.string()),
            ("task", pa.string()),
            ("datasets", pa.list_(pa.string())),
            ("metrics", pa.map_(pa.string(), pa.float64())),
            ("hyperparameters", pa.map_(pa.string(), pa.string())),
            ("seed", pa.int64()),
            ("base_model", pa.string()),
            ("base_model_relation", pa.string()),
            ("license", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("card", pa.string()),
            ("parameters", pa.int64()),
            ("created_at", _TIME),
            ("last_modified", _TIME),
            _required("status"),
            ("reason", pa.string()),
        ]
    ),
    key=("source", "model_id", "revision"),
    values=_STATUS,
)
"""Model records of one crawl batch."""

INVENTORY = Table(
    "extracted_weights",
    "extracted_weights",
    "inventory/{batch}.parquet",
    pa.schema(
        [
            *_OUTCOME,
            ("parameters", pa.int64()),
            ("content", pa.string()),
            ("tensors", pa.list_(_TENSOR)),
            ("in_layers", pa.float64()),
            ("in_buffers", pa.float64()),
            ("in_averages", pa.float64()),
            ("unread", pa.float64()),
            ("not_finite", _TEXTS),
        ]
    ),
    key=("model_id",),
    values=_STATUS,
    counts=("parameters",),
)
"""One row a model: its tensors and a hash of them all, or the reason it was skipped; which shares of its bytes become
layers, are known buffers or averages over training, and are not read; the names of tensors that hold NaN or
infinity."""

WIRINGS = Table(
    "wirings",
    "layer_tensors",
    "wirings/{batch}.parquet",
    pa.schema(
        [
            *_OUTCOME,
            ("method", pa.string()),
            ("family", pa.string()),
            ("assumes", _TEXTS),
            ("parameters", pa.int64()),
            ("sampled", pa.bool_()),
            ("wiring", pa.string()),
        ]
    ),
    key=("model_id",),
    values=_STATUS | {"method": ("family", "traced", "chain", "independent")},
    counts=("parameters",),
)
"""One row a model: how PEACE reads it, or the reason it was skipped."""

LAYERS = Table(
    "layer_tensors",
    "layer_tensors",
    "layers/{batch}.parquet",
    pa.schema(
        [
            *_MODEL,
            _required("layer", pa.int32()),
            _required("name"),
            _required("kind"),
            _required("parameter"),
            _required("out_group"),
            ("in_group", pa.string()),
            _required("shape", pa.list_(pa.int64())),
            _required("dtype"),
            _required("sampled", pa.bool_()),
            _required("values", pa.list_(pa.float32())),
        ]
    ),
    key=("model_id", "layer", "parameter"),
    values={"parameter": ("weight", "bias")},
    counts=("layer",),
)
"""One row a layer's parameter, with its values."""

RESPONSES = Table(
    "probe_responses",
    "probe_responses",
    "responses/{batch}.parquet",
    pa.schema(
        [
            *_OUTCOME,
            ("kind", pa.string()),
            ("run_by", pa.string()),
            ("probes", pa.string()),
            ("probe_count", pa.int32()),
            ("output_count", pa.int32()),
            ("outputs", pa.list_(pa.float16())),
            ("labels", pa.list_(pa.string())),
            ("gram", pa.list_(pa.float16())),
            ("shape", pa.list_(pa.int32())),
        ]
    ),
    key=("model_id",),
    values=_STATUS | {"kind": ("numbers", "tokens", "text")},
    counts=("probe_count", "output_count"),
)
"""One row a network: what it answers to the probes (probes × outputs, in the order of its labels), and the shape of an
input, which tables of an earlier version lack; or the reason why it was not run."""

PAIRS = Table(
    "contrastive_pairs",
    "contrastive_pairs",
    "pairs/pairs.parquet",
    pa.schema(
        [
            _required("anchor"),
            _required("other"),
            _required("relation"),
            _required("reason"),
            ("strength", pa.float64()),
        ]
    ),
    key=("anchor", "other", "reason"),
    values={"relation": ("positive", "negative")},
)
"""Pairs that the encoder learns from."""

NETWORK_EMBEDDINGS = Table(
    "network_embeddings",
    "network_embeddings",
    "embeddings/{encoder_version}/network/{batch}.parquet",
    pa.schema(
        [
            *_MODEL,
            _required("encoder_version"),
            _required("embedded_at", _TIME),
            ("run_by", pa.string()),
            ("assumes", _TEXTS),
            _required("vector", _VECTOR),
            _required("weights", _VECTOR),
            ("responses", _VECTOR),
        ]
    ),
    key=("model_id",),
)
"""One row a network: its vector, that of its weights alone, and the sketch of its answers, null where it wasn't run.

``responses`` has no fixed size in Parquet, where pyarrow can't read such a column with nulls.
"""

LAYER_EMBEDDINGS = Table(
    "layer_embeddings",
    "layer_embeddings",
    "embeddings/{encoder_version}/layer/{batch}.parquet",
    pa.schema(
        [
            *_MODEL,
            _required("encoder_version"),
            _required("layer", pa.int32()),
            _required("name"),
            _required("kind"),
            _required("vector", _VECTOR),
        ]
    ),
    key=("model_id", "layer"),
    counts=("layer",),
)
"""One row a layer of a network."""

OUTPUT_EMBEDDINGS = Table(
    "output_embeddings",
    "output_embeddings",
    "embeddings/{encoder_version}/output/{batch}.parquet",
    pa.schema(
        [
            *_MODEL,
            _required("encoder_version"),
            _required("place", pa.int32()),
            ("label", pa.string()),
            _required("vector", _VECTOR),
        ]
    ),
    key=("model_id", "place"),
    counts=("place",),
)
"""One row an output of a network that was run."""

EMBEDDING_OUTCOMES = Table(
    "embedding_outcomes",
    "network_embeddings",
    "embeddings/{encoder_version}/outcomes/{batch}.parquet",
    pa.schema([*_OUTCOME, _required("encoder_version")]),
    key=("model_id",),
    values=_STATUS,
)
"""One row a network: it has a vector, or the reason why not."""

TABLES = {
    table.name: table
    for table in (
        MODEL_RECORDS,
        INVENTORY,
        WIRINGS,
        LAYERS,
        RESPONSES,
        PAIRS,
        NETWORK_EMBEDDINGS,
        LAYER_EMBEDDINGS,
        OUTPUT_EMBEDDINGS,
        EMBEDDING_OUTCOMES,
    )
}
