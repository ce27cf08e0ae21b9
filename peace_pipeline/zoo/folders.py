"""Folders on this machine as people have them: which models they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from natsort import natsorted

from peace_pipeline.zoo import files, layouts, signatures
from peace_pipeline.zoo.layouts import FolderModel

_MAX_LAYOUT = 1 << 20


def models_of(folder: Path) -> list[FolderModel]:
    """The models of a folder (not of its subfolders, but for parts of a whole and variants), its own first.

    Raises:
        ForbiddenShard: where an index names a file that is not in the folder itself.
        OSError: where the folder can't be listed.
    """
    return layouts.models_in(FolderTree(folder))


def described_subfolders(folder: Path) -> list[str]:
    """Subfolders that hold weights, at most two levels down."""
    return layouts.described_subfolders(FolderTree(folder))


def model_folders(root: Path, unlisted: Callable[[OSError], None]) -> Iterator[Path]:
    """Folders under ``root`` that hold models or a config.json, but for subfolders that hold variants of their parent.

    ``unlisted`` is told of folders that can't be listed. Links to folders are not followed.
    """
    for folder in layouts.model_folders(FolderTree(root), unlisted):
        yield root / folder


class FolderTree:
    """The tree below a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def listed(self, folder: str) -> tuple[list[str], list[str]]:
        """See :class:`Tree`."""
        names, subfolders = [], []
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    names.append(entry.name)
                elif not entry.is_symlink() and not entry.name.startswith("."):
                    subfolders.append(entry.name)
        return names, natsorted(subfolders)

    def kind(self, path: str) -> str | None:
        """See :class:`Tree`."""
        place = self.root / path
        head = signatures.head_of(place)
        if not head:
            return None
        found = signatures.kind_of(head, place.stat().st_size)
        if found is None and place.suffix.lower() == ".index":
            return "tensorflow" if signatures.is_bundle(place) else None
        return found

    def document(self, path: str) -> object:
        """See :class:`Tree`."""
        place = self.root / path
        try:
            readable = place.is_file() and place.stat().st_size <= _MAX_LAYOUT
            return json.loads(place.read_bytes()) if readable else None
        except (OSError, ValueError, RecursionError):
            return None

    def indexes(self, folder: str, names: Iterable[str]) -> list[list[str]]:
        """See :class:`Tree`."""
        return files.indexes(self.root / folder, names)

    def is_adapter(self, path: str) -> bool:
        """See :class:`Tree`."""
        return signatures.is_adapter(signatures.head_of(self.root / path, signatures.HEADER))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
