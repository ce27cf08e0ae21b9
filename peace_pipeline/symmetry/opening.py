"""Opening a network by name: a path, a model of the Hub, or a model id of the lake."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import NEW
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.chains import chain
from peace_pipeline.symmetry.wiring.inference import explained_wiring
from peace_pipeline.symmetry.wiring.joining import joined
from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER, WiredLayer, Wiring, WiringMismatch
from peace_pipeline.weights.checkpoint import Checkpoint, open_checkpoint, weight_files
from peace_pipeline.weights.checkpoint import joined as joined_files
from peace_pipeline.weights.errors import UnreadableCheckpoint, memory_errors
from peace_pipeline.weights.formats.safetensors import SafetensorsFile
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import LogicalTensors, Recognised, logical, recognised
from peace_pipeline.weights.logical.joined import JoinedTensors
from peace_pipeline.weights.parts import prefixes_of
from peace_pipeline.weights.sampled_copy import NAME as SAMPLED
from peace_pipeline.weights.sampled_copy import fetch_sampled, open_sampled
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import read_config
from peace_pipeline.zoo.current import newest_record
from peace_pipeline.zoo.fetching import Fetched, Fetcher
from peace_pipeline.zoo.folders import is_place
from peace_pipeline.zoo.names import did_you_mean_model_or_path, meant
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError, Ranged, SourceUnavailable

HUB = "hf://"
Rounding = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class OpenNetwork:
    """An open checkpoint, its tensors as layers are made of them, and how they are wired, with the reason in words.

    ``common`` is the wiring by what every format can hold: names, shapes and the config; ``common_reason`` why. Its
    vector is had by that, so that it is the same from a file that also says what is computed (ONNX, Keras).

    ``config`` is what its config.json says, which may be nothing; ``folder`` is where its files lie, if that is known.
    """

    checkpoint: Checkpoint
    logical: LogicalTensors
    wiring: Wiring
    reason: str
    common: Wiring
    common_reason: str
    config: dict[str, Any]
    folder: Path | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint, config: dict[str, Any], folder: Path | None = None) -> OpenNetwork:
        """Wire a checkpoint with this config.json (which may be empty); of a whole each member by itself, with its own.

        Raises:
            UnreadableCheckpoint: where nothing in it is a layer, or weights are quantised in a way that is not read.
        """
        try:
            if checkpoint.members:
                return cls._of_members(checkpoint, config, folder)
            return cls._of_one(checkpoint, config, folder)
        except WiringMismatch as error:
            raise UnreadableCheckpoint(str(error)) from error

    @classmethod
    def _of_members(cls, checkpoint: Checkpoint, config: dict[str, Any], folder: Path | None) -> OpenNetwork:
        """A whole of the members in which something is a layer.

        Raises:
            WiringMismatch: where nothing is.
        """
        found: dict[str, OpenNetwork] = {}
        for member in checkpoint.members:
            name = member.prefix[:-1]
            try:
                found[member.prefix] = cls._of_one(member.checkpoint, member.config(config), None)
            except WiringMismatch:
                continue
            except UnreadableCheckpoint as error:
                raise type(error)(f"{name}: {error}" if name else str(error)) from error
        if not found:
            raise WiringMismatch("no layers")
        wiring = joined({prefix: one.wiring for prefix, one in found.items()})
        tensors = JoinedTensors({prefix: one.logical for prefix, one in found.items()})
        common = joined({prefix: one.common for prefix, one in found.items()})
        reason = _of_parts({prefix: one.reason for prefix, one in found.items()})
        common_reason = _of_parts({prefix: one.common_reason for prefix, one in found.items()})
        return cls(checkpoint, tensors, wiring, reason, common, common_reason, config, folder)

    @classmethod
    def _of_one(cls, checkpoint: Checkpoint, config: dict[str, Any], folder: Path | None) -> OpenNetwork:
        known = recognised(checkpoint.tensors.values(), config, checkpoint.settings)
        passages = checkpoint.passages
        found = logical(checkpoint, known.config)
        wiring, reason = explained_wiring(found.tensors.values(), known.config, passages)
        if known.assumes and wiring.method != "family":
            known = Recognised(config)
            found = logical(checkpoint, config)
            wiring, reason = explained_wiring(found.tensors.values(), config, passages)
        common, common_reason = (
            explained_wiring(found.tensors.values(), known.config) if passages else (wiring, reason)
        )
        if known.assumes:
            wiring = common = replace(wiring, assumes=(*wiring.assumes, *known.assumes))
            reason = f"no config names its family, but all names and shapes are those of {wiring.family}"
            common_reason = reason
        return cls(checkpoint, found, wiring, reason, common, common_reason, config, folder)

    @property
    def has_unknown_activation(self) -> bool:
        """Whether it is wired as a chain by names and shapes, and nothing says which activation hidden units have."""
        return ONE_AFTER_THE_OTHER in self.wiring.assumes and activation(self.config) is None

    def with_activation(self, name: str, *assumed: str) -> OpenNetwork:
        """The network as it is read where a config.json says that its hidden units have this activation, with what is
        ``assumed`` by that."""
        found = OpenNetwork.of(self.checkpoint, self.config | {"hidden_act": name}, self.folder)
        assumes = (*self.wiring.assumes, *assumed)
        return replace(found, config=self.config, wiring=replace(found.wiring, assumes=assumes))

    def as_flattened(self, act: str | None = None) -> OpenNetwork | None:
        """The network read as a chain in which linear layers read flattened channels, with the activation ``act`` if
        something is said; ``None`` where it isn't wired as a chain by names and shapes alone, or has no such layer."""
        is_known = self.checkpoint.passages or self.checkpoint.members
        if is_known or ONE_AFTER_THE_OTHER not in self.wiring.assumes:
            return None
        said = self.config if act is None else self.config | {"hidden_act": act}
        found = chain(layers_of(self.logical.tensors.values()), said, assumed=True)
        if found is None or found.groups == self.wiring.groups:
            return None
        assumes = tuple(dict.fromkeys((*self.wiring.assumes, *found.assumes)))
        return replace(self, wiring=replace(found, assumes=assumes))

    def in_memory(self, key: str, dtype: torch.dtype = torch.float32) -> Network:
        """What is kept of the network by its common wiring, its norms folded in, called ``key``.

        Raises:
            UnreadableCheckpoint: where its tensors can't be read, or a byte budget left nothing of a group.
        """
        reduction = Reduction(self.common, self.logical.tensors)
        return Network(key, reduction.wiring, reduction.tensors(self.logical.read, dtype))

    def layers(
        self, wiring: Wiring, dtype: torch.dtype, rounding: Rounding = lambda values: values
    ) -> Callable[[int], Tensors]:
        """Reads the folded layers of ``wiring``, which names this network's tensors, after ``rounding``."""

        def read(position: int) -> Tensors:
            return folded_layer(
                wiring.layers[position], lambda name: rounding(self.logical.read(name, dtype))
            )

        return read

    def size(self, wired: WiredLayer) -> int:
        """Number of values of a layer and the norm after it."""
        names = (name for layer in wired.own for name in layer.tensors.values())
        return sum(self.logical.tensors[name].size for name in names)


def _of_parts(reasons: dict[str, str]) -> str:
    """Why a whole is wired so, given the reasons of its parts by their prefixes."""
    told = (f"{prefix[:-1] or 'its own'}: {reason}" for prefix, reason in reasons.items())
    return "; ".join(["a whole of parts", *told])


@contextmanager
def open_network(
    lake: Lake, name: str, fetcher: Fetcher | None = None, *, budget: int | None = None
) -> Iterator[OpenNetwork]:
    """The network that the path of a weight file or a Hub-layout folder, a model of the Hub
    (``hf://org/name@revision``), or else a model id of the lake stands for.

    The files of a model of the lake are had through ``fetcher`` where they are not on this machine. At most ``budget``
    bytes of the weights are read.

    Raises:
        UnreadableCheckpoint: where it stands for none, or can't be had or read.
    """
    try:
        with _opened(lake, name, fetcher or Fetcher(), budget) as (checkpoint, folder):
            yield OpenNetwork.of(checkpoint, read_config(folder), folder)
    except (FetchError, SourceUnavailable) as error:
        raise UnreadableCheckpoint(str(error)) from error


@contextmanager
def _opened(lake: Lake, name: str, fetcher: Fetcher, budget: int | None) -> Iterator[tuple[Checkpoint, Path]]:
    """A checkpoint and the folder of its config.json."""
    found = _found(lake, name, fetcher)
    if isinstance(found, str):
        with _on_the_hub(lake, found, budget) as opened:
            yield opened
    elif isinstance(found, Path):
        weights = weight_files(found)
        with open_checkpoint(weights, budget) as checkpoint:
            yield checkpoint, folder_of(found, weights)
    else:
        with (
            fetcher.lent(found, fetch_sampled) as fetched,
            open_fetched(found, fetched, budget) as checkpoint,
        ):
            yield checkpoint, fetched.folder


def folder_of(place: Path, weights: Sequence[Path]) -> Path:
    """The folder whose config.json describes a model, given its path and weight files; of a whole that of no part."""
    return place if place.is_dir() else Path(os.path.commonpath([path.parent for path in weights]))


def _found(lake: Lake, name: str, fetcher: Fetcher) -> Path | str | ModelRecord:
    """What a name stands for: a path, a model of the Hub (``hf://…``), or a model of the lake that can be fetched.

    Raises:
        UnreadableCheckpoint: where it stands for nothing, or for a model of the lake that was skipped, or is gone.
    """
    if name.startswith(HUB):
        return name
    if is_place(name):
        return Path(os.path.expanduser(name))
    record = newest_record(lake, meant(name))
    if record is None:
        raise UnreadableCheckpoint(f"no such file or folder{did_you_mean_model_or_path(lake, name)}")
    if record.status != NEW:
        raise UnreadableCheckpoint(record.reason or record.status)
    if record.source == "huggingface" and not fetcher.owners(record):
        return _at(record.model_id, record.revision)
    return record


def _at(model_id: str, revision: str) -> str:
    """The name by which the Hub is asked for a model of the lake at its revision."""
    repository, mark, path = model_id.partition("#")
    return f"{HUB}{repository}@{revision}{mark}{path}"


@dataclass(frozen=True)
class LocalModel:
    """A model whose files lie on this machine: ``path`` is a weight file, or a folder of which ``weights`` are the
    model's."""

    path: Path
    weights: list[Path]


@contextmanager
def local_model(lake: Lake, name: str, fetcher: Fetcher | None = None) -> Iterator[LocalModel]:
    """The whole files of a network, named as for :func:`open_network`; what is fetched is given up afterwards.

    Raises:
        UnreadableCheckpoint: where the name stands for none, the files can't be had, or only a part of them can.
    """
    from peace_pipeline.zoo.hub.queries import HubModel

    fetcher = fetcher or Fetcher()
    try:
        with _naming(name):
            found = _found(lake, name, fetcher)
            named = weight_files(found) if isinstance(found, Path) else []
        if isinstance(found, str):
            with HubModel.named(lake, found) as model:
                yield LocalModel(*model.download())
        elif isinstance(found, Path):
            yield LocalModel(found, named)
        else:
            with fetcher.lent(found, fetch_sampled) as fetched:
                if fetched.is_part:
                    raise UnreadableCheckpoint("its source reads only a part of its values")
                yield LocalModel(fetched.folder, files.weights_of(found, fetched.folder))
    except (FetchError, SourceUnavailable) as error:
        raise UnreadableCheckpoint(str(error)) from error


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except UnreadableCheckpoint as error:
        raise UnreadableCheckpoint(f"{name}: {error}") from error


@contextmanager
def open_fetched(record: ModelRecord, fetched: Fetched, budget: int | None = None) -> Iterator[Checkpoint]:
    """The checkpoint of a record whose files, or the part of them that a source's budget let through, are here.

    Raises:
        UnreadableCheckpoint: where it can't be read.
    """
    opened = (
        open_sampled(fetched.folder / SAMPLED)
        if fetched.is_part
        else open_checkpoint(files.weights_of(record, fetched.folder), budget)
    )
    with opened as checkpoint, memory_errors():
        yield checkpoint


@contextmanager
def _on_the_hub(lake: Lake, name: str, budget: int | None) -> Iterator[tuple[Checkpoint, Path]]:
    """A Hub model's checkpoint and the folder of its config.json: safetensors by ranges, other formats downloaded."""
    from peace_pipeline.zoo.hub.queries import HubModel

    with HubModel.named(lake, name) as model, ExitStack() as stack:
        if not model.blobs:
            folder, weights = model.download()
            yield stack.enter_context(open_checkpoint(weights, budget)), folder
        elif budget is None:
            folder, read = model.texts(), {blob.name: SafetensorsFile(blob) for blob in model.blobs}
            yield joined_files(read, prefixes_of(read), folder), folder
        else:
            folder = model.texts()
            fetch_sampled(Ranged(model.blobs, folder, budget))
            yield stack.enter_context(open_sampled(folder / SAMPLED)), folder
