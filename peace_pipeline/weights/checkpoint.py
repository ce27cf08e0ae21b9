"""A checkpoint as named tensors, read one at a time; one reader a format, in a registry."""

from __future__ import annotations

import math
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peace_pipeline.weights.byte_budget import sample
from peace_pipeline.weights.errors import (
    DuplicateTensor,
    ExcessiveSize,
    ForbiddenPath,
    NoTensors,
    NotFinite,
    UnreadableCheckpoint,
    UnsupportedFormat,
    memory_errors,
)
from peace_pipeline.weights.formats.registry import open_file
from peace_pipeline.weights.parts import Bare, config_of_part, named_parts, part_of, root_of
from peace_pipeline.weights.tensors import (
    MAX_DIMENSIONS,
    MAX_NAME,
    MAX_TENSORS,
    Averaging,
    Computing,
    Described,
    Flowing,
    InPieces,
    Passage,
    Settings,
    TensorFile,
    TensorInfo,
    dtype_name,
)
from peace_pipeline.weights.whole import check_index, check_splits, with_its_shards
from peace_pipeline.zoo import files, signatures
from peace_pipeline.zoo.folders import described_subfolders, folder_and_name, models_of

_SHOWN = 4


class Checkpoint:
    """The tensors of a model, which may be spread over several ``files`` (shards), by their names.

    ``settings`` is what they say of the network, ``passages`` how data flows in it, and ``functions`` what is computed
    beside layers, where their format is one that says so. ``members`` are the networks that it is a whole of, if it is.

    Raises:
        UnreadableCheckpoint: where two have one name, there are too many, or none is floating-point.
    """

    def __init__(self, parts: Mapping[str, TensorFile], settings: Settings | None = None) -> None:
        self.files = parts
        described = (part.settings for part in parts.values() if isinstance(part, Described))
        self.settings = next(described, {}) if settings is None else settings
        flowing = (part.passages for part in parts.values() if isinstance(part, Flowing))
        self.passages: Sequence[Passage] = next(flowing, ()) if len(parts) == 1 else ()
        computing = (part.functions for part in parts.values() if isinstance(part, Computing))
        self.functions: Mapping[str, int] | None = next(computing, None) if len(parts) == 1 else None
        self.averages = sum(part.averages for part in parts.values() if isinstance(part, Averaging))
        """Bytes of copies of the network that its files hold beside it."""
        self.members: Sequence[Member] = ()
        self.tensors: dict[str, TensorInfo] = {}
        self._owner: dict[str, TensorFile] = {}
        self._dead: dict[str, tuple[int, torch.Tensor]] = {}
        """Name → axis and places of what is dead in a tensor that is not finite."""
        self._notes_left = _MOST_NOTES
        for path, part in parts.items():
            for info in part.inventory():
                self._check(path, info)
                self.tensors[info.name] = self._noted(info, part)
                self._owner[info.name] = part
        if not self.parameters:
            raise NoTensors("no floating-point tensors")

    def _check(self, path: str, info: TensorInfo) -> None:
        if len(info.name) > MAX_NAME:
            raise ExcessiveSize(f"{path}: a tensor's name of {len(info.name):,} characters")
        if info.name.encode(errors="replace").decode() != info.name:
            raise UnreadableCheckpoint(f"{path}: tensor name {info.name!r} is no text")
        if info.name in self.tensors:
            raise DuplicateTensor(f"{path}: tensor {info.name!r} is there twice")
        if len(info.shape) > MAX_DIMENSIONS:
            raise ExcessiveSize(f"{path}: tensor {info.name!r} has {len(info.shape)} dimensions")
        if math.prod(max(size, 1) for size in info.shape) >= 1 << 63:  # an empty one can have any shape
            raise ExcessiveSize(f"{path}: tensor {info.name!r} has shape {info.shape}")
        if len(self.tensors) == MAX_TENSORS:
            raise ExcessiveSize(f"{path}: more than {MAX_TENSORS:,} tensors")

    def _noted(self, info: TensorInfo, file: TensorFile) -> TensorInfo:
        """The tensor with its values, where these say how others are packed."""
        note = _NOTES.fullmatch(info.name) if info.dtype in _NOTE_TYPES and info.part is None else None
        longest = _LONGEST_STATE if note and note["state"] else MAX_DIMENSIONS
        if note is None or info.size > min(longest, self._notes_left):
            return info
        self._notes_left -= info.size
        return replace(info, note=tuple(file.read(info.name).flatten().tolist()))

    def read(
        self, name: str, dtype: torch.dtype | None = torch.float32, rows: tuple[int, int] | None = None
    ) -> torch.Tensor:
        """One tensor, or its ``rows`` [start, stop), converted to ``dtype`` (``None`` keeps its own). Rows that hold
        NaN or infinity are dead: zeros; where few columns hold them instead, these values alone.

        Raises:
            NotFinite: where most of a floating tensor's are.
            UnreadableCheckpoint: where it can't be had.
        """
        tensor = self._owner[name].read(name, rows)
        try:
            with memory_errors():
                if tensor.is_floating_point() and not all_finite(tensor):
                    tensor = self._living(name, tensor, rows)
                return tensor if dtype is None else tensor.to(dtype)
        except RuntimeError as error:  # NotImplementedError is one
            raise UnsupportedFormat(
                f"tensor {name!r}: {dtype_name(tensor.dtype)} can't be read: {error}"
            ) from error

    def _living(self, name: str, tensor: torch.Tensor, rows: tuple[int, int] | None) -> torch.Tensor:
        """A tensor, or its rows, without what is dead in the whole of it."""
        if name not in self._dead:
            self._dead[name] = _dead(name, self.raw(name))
        axis, dead = self._dead[name]
        living = tensor.clone()
        bits = living.view(torch.uint8) if living.element_size() == 1 else living  # few operators take float8
        if axis == 0:
            bits[dead if rows is None else dead[rows[0] : rows[1]]] = 0
        else:  # of other values in a column, rows that are read alone don't know
            bits[~(tensor.float() if tensor.element_size() < 4 else tensor).isfinite()] = 0
        return living.contiguous()

    def raw(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """One tensor, or its ``rows`` [start, stop), as it is stored, whatever its values are.

        Raises:
            UnreadableCheckpoint: where it can't be had.
        """
        return self._owner[name].read(name, rows)

    @property
    def not_finite(self) -> tuple[str, ...]:
        """Names of the tensors that were read so far in which NaN or infinity was taken for zeros."""
        return tuple(sorted(self._dead))

    @property
    def in_pieces(self) -> bool:
        """Whether every file can be read in pieces, by several threads."""
        return all(isinstance(file, InPieces) for file in self._owner.values())

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The values of a tensor in its own dtype, flat, a piece at a time where the file can be read so.

        Raises:
            UnreadableCheckpoint: where it can't be had.
        """
        file = self._owner[name]
        yield from file.pieces(name) if isinstance(file, InPieces) else [file.read(name)]

    @property
    def parameters(self) -> int:
        """Number of floating-point values."""
        return sum(info.size for info in self.tensors.values() if info.is_floating)

    @property
    def sampled(self) -> bool:
        """Whether a byte budget left something out."""
        return any(info.part for info in self.tensors.values())


_NOTES = re.compile(
    r"(?:.*\.)?(?:(?P<state>quant_state\.bitsandbytes__(?:nf4|fp4))"
    r"|weight_format|(?:weight_)?shape|nbits|axis|group_size)"
)
"""Names of small tensors that say how others are packed."""
_LONGEST_STATE, _MOST_NOTES = 4096, 1 << 20
"""Values of one, and of all."""
_NOTE_TYPES = ("uint8", "int16", "int32", "int64")


def weight_files(place: Path) -> list[Path]:
    """The weight files of the model that a file, a folder, or ``folder#file`` stands for.

    Raises:
        UnreadableCheckpoint: where it stands for none, or it isn't certain for which.
    """
    folder, name = place, ""
    if not os.path.exists(place):  # of a name that is too long, too
        if not (parts := folder_and_name(str(place))):
            raise UnreadableCheckpoint("no such file or folder")
        folder, name = parts
        if os.path.isdir(folder / name) and not name.startswith("."):  # a part
            return weight_files(folder / name)
    elif not place.is_dir():
        return with_its_shards(place)
    try:
        found = {model.name: model for model in models_of(folder)}
    except files.ForbiddenShard as error:
        raise ForbiddenPath(str(error)) from error
    except OSError as error:
        raise UnreadableCheckpoint(f"can't be listed: {error.strerror}") from error
    if name not in found:
        if name and not name.startswith(".") and os.path.isfile(folder / name):
            return with_its_shards(folder / name)
        raise UnreadableCheckpoint(_choices(folder, name, [*filter(None, found)]))
    if reason := found[name].reason:
        raise UnreadableCheckpoint(reason)
    weights = [folder / file for file in found[name].files]
    return weights if len(weights) > 1 else with_its_shards(weights[0])


def models_at(name: str) -> list[str]:
    """The names of the models that a path stands for: of a folder without a network of its own each as ``path#file``,
    else the path itself."""
    place = Path(os.path.expanduser(name))
    if not os.path.isdir(place):
        return [name]
    try:
        found = models_of(place)
    except (OSError, files.AmbiguousWeights):
        return [name]
    return [f"{name}#{model.name}" for model in found] if found and found[0].name else [name]


def _choices(folder: Path, name: str, names: Sequence[str]) -> str:
    """What there is instead of the model asked for."""
    shown = ", ".join(f"{folder.name}#{other}" for other in names[:_SHOWN])
    if name:
        return f"there is no network {name[:100]!r} in this folder" + (f", but {shown}" if shown else "")
    if names:
        return f"{len(names)} networks, to be named one by one: {shown}"
    below = described_subfolders(folder)
    if below:
        return f"no weights in this folder, but in {', '.join(below[:_SHOWN])}"
    named = {entry.name: signatures.foreign_by_name(entry.name) for entry in folder.iterdir()}
    foreign = [f"{name} ({what})" for name, what in sorted(named.items()) if what]
    return "no weights in this folder" + (
        f" that are read, but {', '.join(foreign[:_SHOWN])}" if foreign else ""
    )


@contextmanager
def open_checkpoint(paths: Iterable[Path], budget: int | None = None) -> Iterator[Checkpoint]:
    """Open the weight files of one model, to read at most ``budget`` bytes of tensors (all of them by default).

    Raises:
        UnreadableCheckpoint: where a file is of an unknown format, corrupt, truncated, or holds no floating-point
            tensor.
    """
    paths = list(paths)
    named = named_parts(paths)
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(_open_part(path, prefix)) for path, (name, prefix) in named.items()
        }
        check_splits(opened)
        whole = joined(opened, dict(named.values()), root_of(paths), budget)
        check_index({path: prefix for path, (_, prefix) in named.items()}, whole.tensors.keys())
        yield whole


def joined(
    files: Mapping[str, TensorFile],
    prefixes: Mapping[str, str],
    folder: Path,
    budget: int | None = None,
) -> Checkpoint:
    """The checkpoint of a model's files, by their paths in ``folder``, with each one's prefix before its tensors; at
    most ``budget`` bytes are read.

    Raises:
        UnreadableCheckpoint: as for a :class:`Checkpoint`, and where the budget is too small.
    """
    parts = {name: part_of(file, prefixes[name]) for name, file in files.items()}
    whole = Checkpoint(parts)
    if budget is not None:
        sampled = sample(parts, budget)
        whole = Checkpoint(sampled, whole.settings)
        files = {name: Bare(sampled[name], prefixes[name]) for name in files}
    whole.members = members_of(files, prefixes, folder)
    return whole


def members_of(
    files: Mapping[str, TensorFile], prefixes: Mapping[str, str], folder: Path
) -> Sequence[Member]:
    """The networks of a whole, given their files under the names that tensors have there; none of one network."""
    members = []
    for prefix in dict.fromkeys(prefixes.values()) if any(prefixes.values()) else ():
        own = {name: file for name, file in files.items() if prefixes[name] == prefix}
        try:
            members.append(Member(prefix, Checkpoint(own), config_of_part(folder, next(iter(own)))))
        except NoTensors:
            continue
    return members


@dataclass(frozen=True)
class Member:
    """One network of a whole: what stands before the names of its tensors there, and what the config.json of its own
    folder says, where it has one."""

    prefix: str
    checkpoint: Checkpoint
    own_config: dict[str, Any] | None

    def config(self, of_whole: Mapping[str, Any]) -> dict[str, Any]:
        """What describes it, given what the whole's config.json says."""
        return dict(of_whole) if self.own_config is None else self.own_config


@contextmanager
def _open_part(path: Path, prefix: str) -> Iterator[TensorFile]:
    """A weight file; what is wrong with that of a part is said with its name."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_file(path))
        except UnreadableCheckpoint as error:
            raise type(error)(f"{prefix[:-1]}: {error}" if prefix else str(error)) from error
        yield file


def _dead(name: str, tensor: torch.Tensor) -> tuple[int, torch.Tensor]:
    """The axis along which few places of a tensor hold values that are not finite, and which.

    Raises:
        NotFinite: where most do along every axis.
    """
    is_bad = ~(tensor.float() if tensor.element_size() < 4 else tensor).isfinite()
    for axis in range(min(tensor.dim(), 2)):
        dead = is_bad.movedim(axis, 0).flatten(1).any(1) if tensor.dim() > 1 else is_bad
        if 2 * int(dead.sum()) < len(dead):
            return axis, dead
    raise NotFinite(f"tensor {name!r} holds values that are not finite")


_INFINITY: dict[torch.dtype, tuple[type[np.unsignedinteger], int]] = {
    torch.float64: (np.uint64, 0x7FF0_0000_0000_0000),
    torch.float32: (np.uint32, 0x7F80_0000),
    torch.float16: (np.uint16, 0x7C00),
    torch.bfloat16: (np.uint16, 0x7F80),
    torch.float8_e5m2: (np.uint8, 0x7C),
    torch.float8_e4m3fn: (np.uint8, 0x7F),
}
"""dtype → its bits as unsigned integers, and the least of them without a sign that is not finite."""
_CACHED = 1 << 19


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether no value of a floating tensor is NaN or infinite.

    Neither would leave the sum finite, and sums take a tenth of the time of a look at each value. Where the sum of
    finite values overflows, their bits tell.
    """
    if tensor.dtype not in _INFINITY:
        return bool(tensor.float().isfinite().all())
    if tensor.element_size() > 1 and tensor.sum().isfinite():
        return True
    kind, infinity = _INFINITY[tensor.dtype]
    bits = tensor.contiguous().flatten().view(torch.uint8).numpy().view(kind)
    magnitude = kind(np.iinfo(kind).max >> 1)
    return all((bits[at : at + _CACHED] & magnitude).max() < infinity for at in range(0, len(bits), _CACHED))
