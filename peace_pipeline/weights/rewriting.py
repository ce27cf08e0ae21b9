"""Copies of checkpoints in which some tensors have new values: the files are copied, then overwritten by position.

So all else stays byte for byte: headers, metadata, pickles, the order and alignment of what is stored. A tensor's new
values are asked for, written and forgotten before the next one's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from peace_pipeline.lake import atomic
from peace_pipeline.weights.checkpoint import all_finite
from peace_pipeline.weights.errors import NotFinite, UnsupportedFormat
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats import zips
from peace_pipeline.weights.formats.registry import open_file
from peace_pipeline.weights.local_blob import Blob, OverwritableBlob, overwritable_blob
from peace_pipeline.weights.tensors import ByPosition, TensorInfo, dtype_name
from peace_pipeline.zoo.formats import format_of, is_weights

NewValues = Callable[[str], torch.Tensor | None]
"""Name of a stored tensor → what to store instead, of the same shape and dtype; none for no change."""


class RefusedDestination(ValueError):
    """A copy of a checkpoint that is not written where it was to be."""


def rewrite(source: Path, destination: Path, weights: Iterable[Path], new_values: NewValues) -> None:
    """Write a copy of a model, a folder in the Hub's layout or a single file, with new values of its tensors.

    ``weights`` are the model's weight files: those of the folder's own network, or ``source``
    itself. Other weight files beside them (the same model in another format) are left out, as they would keep the old
    values; so are hidden folders and links to folders. The destination appears when it is whole.

    Raises:
        RefusedDestination: where the destination exists, lies within the source, or is a file named for another format.
        UnsupportedFormat: where a file, or a tensor that is to change, is stored in a way that can't be overwritten,
            or where tensors that share values are to get different ones.
        NotFinite: where new values are NaN or infinite.
        UnreadableCheckpoint: where a weight file can't be read.
        ValueError: where new values have another shape or dtype.
        OSError: where files can't be read or written (a full disk). Nothing is left then.
    """
    _check(source, destination)
    with ExitStack() as stack:
        opened = {path: stack.enter_context(_opened(path)) for path in weights}
        if source.is_dir():
            copy = stack.enter_context(_atomic_folder(destination))
            _copy_folder(source, copy, {path.name for path in opened})
            copies = {path: copy / path.relative_to(source) for path in opened}
        else:
            copy = stack.enter_context(atomic(destination))
            shutil.copyfile(source, copy)
            copies = dict.fromkeys(opened, copy)
        for path, file in opened.items():
            with overwritable_blob(copies[path]) as blob:
                _overwrite(file, blob, path.name, new_values)


def _check(source: Path, destination: Path) -> None:
    if os.path.lexists(destination):
        raise RefusedDestination(f"{destination} exists")
    if destination.resolve().is_relative_to(source.resolve()):
        raise RefusedDestination(f"{destination} lies within {source}")
    if source.is_file() and destination.suffix.lower() != source.suffix.lower():
        raise RefusedDestination(
            f"{destination.name}: a {source.suffix} file is written, so call it {destination.stem}{source.suffix}"
        )


@contextmanager
def _opened(path: Path) -> Iterator[ByPosition]:
    with open_file(path) as file:
        if not isinstance(file, ByPosition):
            raise UnsupportedFormat(f"{path.name}: tensors of {format_of(path.name)} can't be overwritten")
        yield file


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _copy_folder(source: Path, copy: Path, weights: set[str]) -> None:
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        here = copy / Path(folder).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in names:
            if here != copy or name in weights or not is_weights(name):
                shutil.copyfile(Path(folder, name), here / name)


def _overwrite(file: ByPosition, copy: OverwritableBlob, file_name: str, new_values: NewValues) -> None:
    """Give tensors new values in a copy of their file."""
    shared, overwritten = _shared(file), []
    expected: dict[str, bytes] = {}
    for info in file.inventory():
        new = new_values(info.name)
        if new is not None:
            _check_new(info, new)
            places = file.places(info.name)
            _write(places, new, copy)
            overwritten += [place.start for place in places if not place.is_empty]
        if info.name in shared:
            expected[info.name] = _digest(file.read(info.name) if new is None else new)
    for name, digest in expected.items():
        if overwritten and _digest(_read(file.places(name), copy)) != digest:
            raise UnsupportedFormat(
                f"{file_name}: tensor {name!r} shares values that can't all be as asked for"
            )
    if overwritten and zips.is_zip(copy):
        zips.update_checksums(copy, overwritten)


def _check_new(info: TensorInfo, new: torch.Tensor) -> None:
    shape, dtype = tuple(new.shape), dtype_name(new.dtype)
    if (shape, dtype) != (info.shape, info.dtype):
        raise ValueError(
            f"tensor {info.name!r} is {info.dtype} of shape {info.shape}, not {dtype} of {shape}"
        )
    if not all_finite(new):
        raise NotFinite(f"tensor {info.name!r}: new values are not finite")


def _shared(file: ByPosition) -> set[str]:
    """Tensors of which a value may also be another tensor's, or stand at several places of their own."""
    spans, found = [], set()
    for info in file.inventory():
        try:
            places = file.places(info.name)
        except UnsupportedFormat:
            continue
        spans += [(place.start, place.stop, info.name) for place in places if not place.is_empty]
        found |= {info.name for place in places if not place.is_contiguous}
    end, widest = 0, ""
    for start, stop, name in sorted(spans):
        if start < end:
            found |= {name, widest}
        if stop > end:
            end, widest = stop, name
    return found


def _write(places: Sequence[Place], values: torch.Tensor, copy: OverwritableBlob) -> None:
    blocks = [values] if len(places) == 1 else values.split([place.shape[0] for place in places])
    for place, block in zip(places, blocks, strict=True):
        place.write(copy, block)


def _read(places: Iterable[Place], blob: Blob) -> torch.Tensor:
    blocks = [place.read(blob) for place in places]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _digest(values: torch.Tensor) -> bytes:
    return hashlib.sha256(values.contiguous().flatten().view(torch.uint8).numpy().data).digest()
