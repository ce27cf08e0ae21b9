"""Checkpoints that are no part of the zoo: how one is wired, and what the current encoder makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.progress import Progress

if TYPE_CHECKING:
    from peace_pipeline.encoder.model import Encoder
    from peace_pipeline.symmetry.wiring.types import Group, WiredLayer, Wiring
    from peace_pipeline.weights.checkpoint import Checkpoint
    from peace_pipeline.weights.logical import LogicalTensors

DTYPES = ("float32", "float64")
_LONGEST_REASON = 500


@dataclass(frozen=True)
class EmbeddedCheckpoint:
    """What embedding one path gave: a vector of unit norm (as Python floats), or the reason why there is none."""

    path: str
    encoder_version: str
    parameters: int | None = None
    wiring: str | None = None
    sampled: bool = False
    vector: list[float] | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object: with ``error`` instead of what could not be had."""
        if self.error is not None:
            return {"path": self.path, "encoder_version": self.encoder_version, "error": self.error}
        return {name: value for name, value in vars(self).items() if name != "error"}


def embed_paths(
    lake: Lake,
    paths: Iterable[str],
    *,
    dtype: str = "float32",
    version: str | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> Iterator[EmbeddedCheckpoint]:
    """Embed weight files, Hub-layout folders and Hub models (``hf://org/name@revision``), in the order given, with
    the current encoder or that of ``version``; stores nothing. At most ``budget`` bytes of each are read.

    A path that can't be embedded gives its reason and does not stop the others.

    Raises:
        NoEncoder: where the lake has none.
    """
    from peace_pipeline.encoder import store
    from peace_pipeline.weights.errors import UnreadableCheckpoint, memory_errors

    version, encoder = store.load(lake, version)
    paths = list(paths)
    for done, path in enumerate(paths, 1):
        try:
            with memory_errors():
                yield _embed(lake, encoder, version, path, dtype, budget)
        except (UnreadableCheckpoint, OSError, ValueError) as error:
            reason = str(error).strip() or type(error).__name__
            yield EmbeddedCheckpoint(path, version, error=" ".join(reason.split())[:_LONGEST_REASON])
        except MemoryError:
            yield EmbeddedCheckpoint(path, version, error="does not fit in memory")
        if progress:
            progress(done, len(paths))


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


@dataclass(frozen=True)
class WiringReport:
    """How PEACE reads a checkpoint, and in words why so."""

    wiring: Wiring
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Method, family, reason, groups and layers as a JSON object; what is as usual is left out of a group."""
        return {
            "method": self.wiring.method,
            "family": self.wiring.family,
            "reason": self.reason,
            "groups": [_group_as_dict(group) for group in self.wiring.groups.values()],
            "layers": [_layer_as_dict(wired) for wired in self.wiring.layers],
        }


def describe_wiring(lake: Lake, path: str) -> WiringReport:
    """How PEACE reads a checkpoint.

    Raises:
        UnreadableCheckpoint: where it can't be read.
    """
    from peace_pipeline.stages.extract import config_beside
    from peace_pipeline.symmetry.wiring.inference import explained_wiring
    from peace_pipeline.symmetry.wiring.types import WiringMismatch
    from peace_pipeline.weights.errors import UnreadableCheckpoint
    from peace_pipeline.weights.logical import logical

    with open_model(lake, path) as (checkpoint, folder):
        config = config_beside(folder)
        try:
            return WiringReport(*explained_wiring(logical(checkpoint, config).tensors.values(), config))
        except WiringMismatch as error:
            raise UnreadableCheckpoint(str(error)) from error


def _group_as_dict(group: Group) -> dict[str, Any]:
    unusual = {"width": 1, "bundle": 1, "along": None, "parts": ()}
    more = {key: getattr(group, key) for key, usual in unusual.items() if getattr(group, key) != usual}
    return {"name": group.name, "size": group.size, "kind": group.kind, "actions": list(group.actions)} | more


def _layer_as_dict(wired: WiredLayer) -> dict[str, Any]:
    norms = {"norm": wired.norm, "before": wired.before}
    return {
        "name": wired.layer.name,
        "kind": wired.layer.kind,
        "shape": list(wired.layer.shape),
        "out_group": wired.out.group,
        "in_group": wired.into.group if wired.into else None,
    } | {key: norm.name for key, norm in norms.items() if norm}


@contextmanager
def open_model(lake: Lake, path: str, budget: int | None = None) -> Iterator[tuple[Checkpoint, Path]]:
    """The checkpoint that a file's or folder's path, or the name of a Hub model, stands for, and the folder of its
    config.json.

    Raises:
        UnreadableCheckpoint: where it stands for none.
    """
    from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files

    if path.startswith("hf://"):
        with _on_the_hub(lake, path, budget) as found:
            yield found
        return
    weights = weight_files(Path(path).expanduser())
    with open_checkpoint(weights, budget) as checkpoint:
        yield checkpoint, weights[0].parent


@contextmanager
def _opened(lake: Lake, path: str, budget: int | None = None) -> Iterator[tuple[LogicalTensors, Wiring]]:
    """The network that a path or name stands for, and its wiring."""
    from peace_pipeline.stages.extract import config_beside, wire_checkpoint

    with open_model(lake, path, budget) as (checkpoint, folder):
        yield wire_checkpoint(checkpoint, config_beside(folder))


@contextmanager
def _on_the_hub(lake: Lake, name: str, budget: int | None) -> Iterator[tuple[Checkpoint, Path]]:
    """A Hub model's checkpoint and the folder of its config.json: safetensors by ranges, other formats downloaded."""
    from peace_pipeline.weights.checkpoint import Checkpoint, open_checkpoint
    from peace_pipeline.weights.errors import UnreadableCheckpoint
    from peace_pipeline.weights.formats.safetensors import SafetensorsFile
    from peace_pipeline.weights.sampled_copy import NAME, fetch_sampled, open_sampled
    from peace_pipeline.zoo.hub.queries import HubModel
    from peace_pipeline.zoo.source import FetchError, Ranged, SourceUnavailable

    try:
        with HubModel.named(lake, name) as model, ExitStack() as stack:
            if not model.blobs:
                weights = model.download()
                folder = weights[0].parent
                checkpoint = stack.enter_context(open_checkpoint(weights, budget))
            elif budget is None:
                folder = model.texts()
                checkpoint = Checkpoint({blob.name: SafetensorsFile(blob) for blob in model.blobs})
            else:
                folder = model.texts()
                fetch_sampled(Ranged(model.blobs, folder, budget))
                checkpoint = stack.enter_context(open_sampled(folder / NAME))
            yield checkpoint, folder
    except (FetchError, SourceUnavailable) as error:
        raise UnreadableCheckpoint(str(error)) from error


def _embed(
    lake: Lake, encoder: Encoder, version: str, path: str, dtype: str, budget: int | None
) -> EmbeddedCheckpoint:
    import torch

    from peace_pipeline.encoder.embed import embed
    from peace_pipeline.symmetry.form.reduction import Reduction
    from peace_pipeline.symmetry.network import Network

    kind = getattr(torch, dtype)
    with _opened(lake, path, budget) as (network, wiring):
        reduction = Reduction(wiring, network.tensors)
        tensors = reduction.tensors(network.read, kind)
        (embedding,) = embed(encoder, [Network(path, reduction.wiring, tensors)], kind)
        return EmbeddedCheckpoint(
            path,
            version,
            network.parameters,
            wiring.method,
            network.sampled,
            embedding.network.tolist(),
        )
