"""Folders on this machine as people have them: which models they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from natsort import natsorted

from peace_pipeline.zoo import files, layouts, signatures
from peace_pipeline.zoo.formats import DATA, is_left_out
from peace_pipeline.zoo.layouts import FolderModel

_MAX_LAYOUT = 1 << 20
_MOST_OPENED = 16


def models_of(folder: Path) -> list[FolderModel]:
    """The models of a folder (not of its subfolders, but for parts of a whole and variants), its own first.

    Raises:
        ForbiddenShard: where an index names a file that is not in the folder itself.
        OSError: where the folder can't be listed.
    """
    return layouts.models_in(FolderTree(folder))


def is_place(name: str) -> bool:
    """Whether a name is that of a file, a folder, or a network in one (``folder#file``) on this machine."""
    place = os.path.expanduser(name)
    return os.path.exists(place) or folder_and_name(place) is not None


def folder_and_name(place: str) -> tuple[Path, str] | None:
    """The parts of ``folder#file``, either of which may have a # in its name; none where there is no such folder."""
    at = place.find("#")
    while at > 0:
        if os.path.isdir(place[:at]):
            return Path(place[:at]), place[at + 1 :]
        at = place.find("#", at + 1)
    return None


def data_beside(folder: Path, models: Iterable[FolderModel]) -> list[FolderModel]:
    """Pickles and archives of arrays that lie in a folder and are in none of its ``models``, each a model of its own:
    only who opens it can say that it is none. Of many the first are opened, and one says so of the others.

    Raises:
        OSError: where the folder can't be listed.
    """
    used = {name for model in models for name in (*model.files, *model.variants)}
    names, _ = FolderTree(folder).listed("")
    left = natsorted(
        name
        for name in names
        if Path(name).suffix.lower() in DATA and not is_left_out(name) and name not in used
    )
    opened, others = left[:_MOST_OPENED], left[_MOST_OPENED:]
    why = f"not opened, one of {len(others)} such files: the first {_MOST_OPENED} of a folder are"
    return [FolderModel(name, (name,)) for name in opened] + [
        FolderModel(name, reason=why) for name in others[:1]
    ]


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
