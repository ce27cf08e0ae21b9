"""The files of a repository as a tree, by their names, and by their first bytes where the names don't tell enough."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Protocol

from natsort import natsorted

from peace_pipeline.zoo import signatures
from peace_pipeline.zoo.formats import UNKNOWN, format_of, is_weights

_ARCHIVES = {".npz": "npz", ".pkl": "pickle", ".pickle": "pickle", ".joblib": "pickle", ".zip": "pickle"}
"""Suffixes that weights have, among other things, and what kind by their names alone."""
_MOST_LOOKED_AT = 16


class Look(Protocol):
    """Asks for the content of files."""

    def head(self, path: str, size: int) -> tuple[bytes, int]:
        """At most so many first bytes of a file, and how many it has."""

    def document(self, path: str) -> object:
        """What a JSON file says; nothing where it can't be read."""


class RepositoryTree:
    """See :class:`Tree`; files in other ``formats`` are as if they weren't there.

    Names that may stand for anything are looked at where none beside them is that of weights, those without a suffix
    where none in the repository is, sixteen at most and each once; without ``look`` their suffixes decide. So are
    adapters told from other weights: what is more than sixteen is taken for what those sixteen are.
    """

    def __init__(self, names: Iterable[str], formats: Iterable[str], look: Look | None) -> None:
        self._formats, self._look = {*formats}, look
        self._kinds: dict[str, str | None] = {}
        self._adapters: dict[str, bool] = {}
        self.passed_over: set[str] = set()
        """Files that may be weights and were not looked at."""
        self._folders: dict[str, tuple[list[str], list[str]]] = {"": ([], [])}
        self._weighty: set[str] = set()
        for name in natsorted(filter(is_path, names)):
            if format_of(name) in (*self._formats, UNKNOWN):
                folder = self._folder(PurePosixPath(name).parent)
                self._folders[folder][0].append(PurePosixPath(name).name)
                if is_weights(name):
                    self._weighty.add(folder)

    def _folder(self, path: PurePosixPath) -> str:
        """The name of a folder, which is known from now on with those that it lies in."""
        name = "" if path == PurePosixPath() else str(path)
        if name not in self._folders:
            self._folders[name] = [], []
            self._folders[self._folder(path.parent)][1].append(path.name)
        return name

    def listed(self, folder: str) -> tuple[list[str], list[str]]:
        """See :class:`Tree`."""
        return self._folders[folder]

    def kind(self, path: str) -> str | None:
        """See :class:`Tree`."""
        folder, name = path.rpartition("/")[::2]
        suffix = PurePosixPath(name).suffix.lower()
        if folder in self._weighty or (suffix not in _ARCHIVES and (folder or self._weighty)):
            return None
        if self._look is None:
            return _ARCHIVES.get(suffix)
        if path not in self._kinds:
            if len(self._kinds) == _MOST_LOOKED_AT:
                self.passed_over.add(path)
                return None
            found = signatures.kind_of(*self._look.head(path, signatures.HEAD))
            self._kinds[path] = found if found in (*self._formats, "pickle") else None
        return self._kinds[path]

    def document(self, path: str) -> object:
        """See :class:`Tree`."""
        return self._look.document(path) if self._look else None

    def indexes(self, folder: str, names: Iterable[str]) -> list[list[str]]:
        """None: the names of shards tell them."""
        return []

    def is_adapter(self, path: str) -> bool:
        """See :class:`Tree`."""
        if self._look is None or format_of(path) != "safetensors":
            return False
        if path not in self._adapters:
            if len(self._adapters) == _MOST_LOOKED_AT:
                return all(self._adapters.values())
            self._adapters[path] = signatures.is_adapter(self._look.head(path, signatures.HEADER)[0])
        return self._adapters[path]


def is_path(name: str) -> bool:
    """Whether a file's name is a path below the top, no part of which is hidden or leads elsewhere."""
    return all(part and not part.startswith(".") for part in name.split("/"))
