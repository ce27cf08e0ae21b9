"""Folders as people have them: which models they hold, by their files, their subfolders and what layouts say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from natsort import natsorted

from peace_pipeline.zoo import files, signatures
from peace_pipeline.zoo.card import CONFIG
from peace_pipeline.zoo.formats import is_ambiguous, is_weights
from peace_pipeline.zoo.networks import Network, networks, variant_folders

PIPELINE, MODULES, SAVED_MODEL = "model_index.json", "modules.json", "saved_model.pb"
"""What a diffusers pipeline, a sentence-transformers model and a SavedModel of TensorFlow have at their top."""

_CHECKPOINT = re.compile(r"checkpoint-\d+")
_CACHE = {"snapshots", "refs"}
_CACHED = ("blobs", "refs")
_MAX_LAYOUT = 1 << 20
_SHOWN = 4
_OF_ANY_DATA = ("pickle", "npz")
"""Formats in which people keep other things than weights, too."""


@dataclass(frozen=True)
class FolderModel:
    """A model in a folder: ``name`` tells it from others there (the folder's own has none).

    ``files`` are read, ``variants`` hold the same in other ways, relative to the folder; ``reason`` says why it can't
    be read.
    """

    name: str
    files: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    reason: str | None = None


def models_of(folder: Path) -> list[FolderModel]:
    """The models of a folder (not of its subfolders, but for parts of a whole and variants), its own first.

    Raises:
        ForbiddenShard: where an index names a file that is not in the folder itself.
        OSError: where the folder can't be listed.
    """
    names, subfolders = _listed(folder)
    weights = weights_in(folder, names)
    for subfolder in _of_variants(folder, names, subfolders, bool(weights)):
        weights += [f"{subfolder}/{name}" for name in weights_in(folder / subfolder)]
    indexes = files.indexes(folder, names)
    files.check_indexed(name for shards in indexes for name in shards)
    found = networks(weights, indexes)
    models = [_model(network) for network in found]
    if parts := _parts(folder, names, subfolders):
        return _with_whole(folder, models, parts)
    if len(models) > 1 and models[0].name and all(_is_adapter(folder / model.files[0]) for model in models):
        return [_whole(models), *models]
    return models


def weights_in(folder: Path, names: Iterable[str] | None = None) -> list[str]:
    """The weight files in a folder: by their names, or by their content where the names may stand for anything.

    Beside files that are named as weights, pickles and archives of arrays are taken for other data.
    """
    names = natsorted(_listed(folder)[0] if names is None else names)
    plain = [name for name in names if is_weights(name)]
    told = {name: _by_content(folder / name) for name in names if is_ambiguous(name)}
    others = [name for name, kind in told.items() if kind and not (plain and kind in _OF_ANY_DATA)]
    return plain + others


def described_subfolders(folder: Path, depth: int = 2) -> list[str]:
    """Subfolders that hold weights, at most ``depth`` levels down."""
    found = []
    for name in natsorted(_listed(folder)[1]) if depth else []:
        try:
            below = [f"{name}/{each}" for each in described_subfolders(folder / name, depth - 1)]
            found += [name] if weights_in(folder / name) else below
        except OSError:
            continue
    return found


def model_folders(root: Path, unlisted: Callable[[OSError], None]) -> Iterator[Path]:
    """Folders under ``root`` that hold models or a config.json, but for subfolders that hold variants of their parent.

    ``unlisted`` is told of folders that can't be listed. Links to folders are not followed.
    """
    for path, subfolders, names in os.walk(root, onerror=unlisted):
        folder = Path(path)
        if {*subfolders} >= _CACHE:  # the Hub's: what is in its snapshots are links to its blobs
            subfolders[:] = [name for name in subfolders if name not in _CACHED]
        subfolders[:] = natsorted(name for name in subfolders if not name.startswith("."))
        weights = weights_in(folder, names)
        variants = _of_variants(folder, names, subfolders, bool(weights))
        parts = _parts(folder, names, subfolders)
        subfolders[:] = [name for name in subfolders if name not in variants]
        if CONFIG in names or weights or variants or parts:
            yield folder


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Files and subfolders, but for hidden ones and links to folders."""
    names, subfolders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                names.append(entry.name)
            elif not entry.is_symlink() and not entry.name.startswith("."):
                subfolders.append(entry.name)
    return names, natsorted(subfolders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _by_content(path: Path) -> str | None:
    head = signatures.head_of(path)
    if not head:
        return None
    kind = signatures.format_by_content(head, path.stat().st_size)
    if kind is None and path.suffix.lower() == ".index":
        return "tensorflow" if signatures.is_bundle(path) else None
    return "pickle" if kind and head[:1] in (b"\x80", b"(") else kind


def _of_variants(
    folder: Path, names: Iterable[str], subfolders: Iterable[str], has_weights: bool
) -> list[str]:
    """Subfolders that hold the folder's network in other formats or precisions."""
    described = has_weights or not {CONFIG, MODULES, SAVED_MODEL}.isdisjoint(names)
    return variant_folders(_weights_of(folder, subfolders), described=described)


def _weights_of(folder: Path, subfolders: Iterable[str]) -> dict[str, list[str]]:
    """The weights in subfolders that hold some."""
    found = {}
    for name in subfolders:
        try:
            if weights := weights_in(folder / name):
                found[name] = weights
        except OSError:
            continue
    return found


def _parts(folder: Path, names: Iterable[str], subfolders: Iterable[str]) -> list[str]:
    """The subfolders that are parts of a whole, as the folder's layout says."""
    names, subfolders = {*names}, [*subfolders]
    if {PIPELINE, MODULES}.isdisjoint(names):
        return []
    held = _weights_of(folder, subfolders)
    variants = variant_folders(held, described=True)
    if PIPELINE in names:
        document = _document(folder / PIPELINE)
        listed = (
            [name for name, value in document.items() if isinstance(value, list)]
            if isinstance(document, dict)
            else []
        )
        parts = [name for name in subfolders if name in listed or not _CHECKPOINT.fullmatch(name)]
        missing = [name for name in parts if name in listed and (folder / name / CONFIG).exists()]
    else:
        document = _document(folder / MODULES)
        modules = document if isinstance(document, list) else []
        paths = {str(module.get("path")) for module in modules if isinstance(module, dict)}
        parts, missing = [name for name in subfolders if name in paths], []
    present = [name for name in parts if name in held and name not in variants]
    return natsorted({*present, *missing}) if present else []


def _document(path: Path) -> object:
    try:
        readable = path.is_file() and path.stat().st_size <= _MAX_LAYOUT
        return json.loads(path.read_bytes()) if readable else None
    except (OSError, ValueError, RecursionError):
        return None


def _with_whole(folder: Path, models: list[FolderModel], parts: list[str]) -> list[FolderModel]:
    """The whole of a layout with parts, and what of it lies in the folder itself; the parts have their own folders."""
    of_parts = []
    for part in parts:
        try:
            own = models_of(folder / part)
        except (OSError, files.AmbiguousWeights) as error:
            own = [FolderModel("", reason=str(error))]
        own = own or [FolderModel("", reason="no weights")]
        of_parts += [
            replace(model, name=part, files=tuple(f"{part}/{name}" for name in model.files), variants=())
            for model in own[:1]
        ]
    is_pipeline = (folder / PIPELINE).exists()
    own = [] if is_pipeline else [model for model in models if not model.name]
    named = [replace(model, name=model.name or (model.files or ("",))[0]) for model in models]
    return [_whole([*own, *of_parts]), *(model for model in named if model.name)]


def _whole(models: Iterable[FolderModel]) -> FolderModel:
    models = [*models]
    reasons = [f"{model.name}: {model.reason}" for model in models if model.reason]
    return FolderModel(
        "", tuple(name for model in models for name in model.files), (), "; ".join(reasons[:_SHOWN]) or None
    )


def _model(network: Network) -> FolderModel:
    return FolderModel(network.name, network.files, network.variants, network.missing)


def _is_adapter(path: Path) -> bool:
    return signatures.is_adapter(signatures.head_of(path, 1 << 16))
