"""Which models a tree of files holds: by names, subfolders, first bytes and what layouts say, wherever it lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from natsort import natsorted

from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import CONFIG
from peace_pipeline.zoo.formats import is_ambiguous, is_weights
from peace_pipeline.zoo.networks import Network, networks, variant_folders

PIPELINE, MODULES, SAVED_MODEL = "model_index.json", "modules.json", "saved_model.pb"
"""What a diffusers pipeline, a sentence-transformers model and a SavedModel of TensorFlow have at their top."""

_CHECKPOINT = re.compile(r"checkpoint-\d+")
_MODULE = re.compile(r"\d+_\w+")
_CACHE = {"snapshots", "refs"}
_CACHED = ("blobs", "refs")
_SHOWN = 4
OF_ANY_DATA = ("pickle", "npz")
"""Formats in which people keep other things than weights, too."""


class Tree(Protocol):
    """Files and folders, named by their paths below the top, which is ``""``."""

    def listed(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the files and of the subfolders (but hidden ones and links) in a folder.

        Raises:
            OSError: where it can't be listed.
        """

    def kind(self, path: str) -> str | None:
        """The format of a file by its content, ``pickle`` for a bare pickle; none where it holds no weights."""

    def document(self, path: str) -> object:
        """What a JSON file of a layout says; nothing where it can't be had."""

    def indexes(self, folder: str, names: Iterable[str]) -> list[list[str]]:
        """The files that each index of shards among a folder's ``names`` lists."""

    def is_adapter(self, path: str) -> bool:
        """Whether a file holds the matrices of an adapter (LoRA)."""


@dataclass(frozen=True)
class FolderModel:
    """A model in a folder: ``name`` tells it from others there (the folder's own has none).

    ``files`` are read, ``variants`` hold the same in other ways, relative to the folder; ``parts`` are the subfolders
    that a whole is made of; ``reason`` says why it can't be read.
    """

    name: str
    files: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    reason: str | None = None
    parts: tuple[str, ...] = ()


def models_in(tree: Tree, folder: str = "", formats: Iterable[str] | None = None) -> list[FolderModel]:
    """The models of a folder (not of its subfolders, but for parts of a whole and variants), its own first.

    Of several ``formats`` of one network the first is read; by default the one that says most.

    Raises:
        ForbiddenShard: where an index names a file that is not in the folder itself.
        OSError: where the folder can't be listed.
    """
    formats = None if formats is None else tuple(formats)
    names, subfolders = tree.listed(folder)
    weights = weights_in(tree, folder, names)
    for subfolder in _of_variants(tree, folder, names, subfolders, bool(weights)):
        weights += [f"{subfolder}/{name}" for name in weights_in(tree, within(folder, subfolder))]
    indexes = tree.indexes(folder, names)
    files.check_indexed(name for shards in indexes for name in shards)
    found = networks(weights, indexes, formats)
    models = [_model(network) for network in found]
    if parts := _parts(tree, folder, names, subfolders):
        return _with_whole(tree, folder, models, parts, formats, is_pipeline=PIPELINE in names)
    adapters = (tree.is_adapter(within(folder, model.files[0])) for model in models)
    if len(models) > 1 and models[0].name and all(adapters):
        return [_whole(models), *models]
    return models


def weights_in(tree: Tree, folder: str = "", names: Iterable[str] | None = None) -> list[str]:
    """The weight files in a folder: by their names, or by their content where the names may stand for anything.

    Beside files that are named as weights, pickles and archives of arrays are taken for other data.
    """
    names = natsorted(tree.listed(folder)[0] if names is None else names)
    plain = [name for name in names if is_weights(name)]
    told = {name: tree.kind(within(folder, name)) for name in names if is_ambiguous(name)}
    return plain + [name for name, kind in told.items() if kind and not (plain and kind in OF_ANY_DATA)]


def described_subfolders(tree: Tree, folder: str = "", depth: int = 2) -> list[str]:
    """Subfolders that hold weights, at most ``depth`` levels down."""
    found = []
    for name in tree.listed(folder)[1] if depth else []:
        try:
            below = described_subfolders(tree, within(folder, name), depth - 1)
            found += (
                [name] if weights_in(tree, within(folder, name)) else [f"{name}/{each}" for each in below]
            )
        except OSError:
            continue
    return found


def model_folders(tree: Tree, unlisted: Callable[[OSError], None]) -> Iterator[str]:
    """Folders that hold models or a config.json, but for subfolders that hold variants of their parent.

    ``unlisted`` is told of folders that can't be listed.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            names, subfolders = tree.listed(folder)
        except OSError as error:
            unlisted(error)
            continue
        if {*subfolders} >= _CACHE:  # the Hub's: what is in its snapshots are links to its blobs
            subfolders = [name for name in subfolders if name not in _CACHED]
        weights = weights_in(tree, folder, names)
        variants = _of_variants(tree, folder, names, subfolders, bool(weights))
        parts = _parts(tree, folder, names, subfolders)
        if CONFIG in names or weights or variants or parts:
            yield folder
        waiting += [within(folder, name) for name in reversed(subfolders) if name not in variants]


def within(folder: str, name: str) -> str:
    """The path of what is called ``name`` in a folder."""
    return f"{folder}/{name}" if folder and name else folder or name


def _of_variants(
    tree: Tree, folder: str, names: Iterable[str], subfolders: Iterable[str], has_weights: bool
) -> list[str]:
    """Subfolders that hold the folder's network in other formats or precisions."""
    described = has_weights or not {CONFIG, MODULES, SAVED_MODEL}.isdisjoint(names)
    return variant_folders(_weights_of(tree, folder, subfolders), described=described)


def _weights_of(tree: Tree, folder: str, subfolders: Iterable[str]) -> dict[str, list[str]]:
    """The weights in subfolders that hold some."""
    found = {}
    for name in subfolders:
        try:
            if weights := weights_in(tree, within(folder, name)):
                found[name] = weights
        except OSError:
            continue
    return found


def _parts(tree: Tree, folder: str, names: Iterable[str], subfolders: Iterable[str]) -> list[str]:
    """The subfolders that are parts of a whole, as the folder's layout says."""
    names, subfolders = {*names}, [*subfolders]
    if {PIPELINE, MODULES}.isdisjoint(names):
        return []
    held = _weights_of(tree, folder, subfolders)
    variants = variant_folders(held, described=True)
    missing: list[str] = []
    if PIPELINE in names:
        document = tree.document(within(folder, PIPELINE))
        said = document.items() if isinstance(document, dict) else ()
        listed = [name for name, value in said if isinstance(value, list)]
        parts = [name for name in subfolders if name in listed or not _CHECKPOINT.fullmatch(name)]
        missing = [
            name for name in parts if name in listed and CONFIG in tree.listed(within(folder, name))[0]
        ]
    else:
        document = tree.document(within(folder, MODULES))
        modules = document if isinstance(document, list) else []
        paths = {str(module.get("path")) for module in modules if isinstance(module, dict)}
        parts = [name for name in subfolders if (name in paths if paths else _MODULE.fullmatch(name))]
    present = [name for name in parts if name in held and name not in variants]
    return natsorted({*present, *missing}) if present else []


def _with_whole(
    tree: Tree,
    folder: str,
    models: list[FolderModel],
    parts: list[str],
    formats: tuple[str, ...] | None,
    *,
    is_pipeline: bool,
) -> list[FolderModel]:
    """The whole of a layout with parts, and what of it lies in the folder itself; the parts have their own folders."""
    of_parts = []
    for part in parts:
        try:
            own = models_in(tree, within(folder, part), formats)
        except (OSError, files.AmbiguousWeights) as error:
            own = [FolderModel("", reason=str(error))]
        own = own or [FolderModel("", reason="no weights")]
        of_parts += [
            replace(model, name=part, files=tuple(f"{part}/{name}" for name in model.files), variants=())
            for model in own[:1]
        ]
    own = [] if is_pipeline else [model for model in models if not model.name]
    named = [replace(model, name=model.name or (model.files or ("",))[0]) for model in models]
    whole = replace(_whole([*own, *of_parts]), parts=tuple(parts))
    return [whole, *(model for model in named if model.name)]


def _whole(models: Iterable[FolderModel]) -> FolderModel:
    models = [*models]
    reasons = [f"{model.name}: {model.reason}" for model in models if model.reason]
    return FolderModel(
        "", tuple(name for model in models for name in model.files), (), "; ".join(reasons[:_SHOWN]) or None
    )


def _model(network: Network) -> FolderModel:
    return FolderModel(network.name, network.files, network.variants, network.missing)
