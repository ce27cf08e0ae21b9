"""The Python files of a repository, read out of a folder or an archive; nothing is unpacked, imported or run."""

from __future__ import annotations

import ast
import os
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

MAX_HEADERS = 1 << 20
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zlib.error, LZMAError)
_ARCHIVE_ERRORS = (*_DAMAGED, zipfile.BadZipFile, tarfile.TarError, NotImplementedError)


@dataclass(frozen=True)
class Limits:
    """What is read of a repository: ``file`` and ``sources`` are bytes of a Python file and of all; an archive has
    ``members`` files that unpack to ``unpacked`` bytes."""

    file: int = 8 << 20
    sources: int = 256 << 20
    unpacked: int = 16 << 30
    members: int = 1_000_000


class UnreadableTree(ValueError):
    """A repository, or a module of it, that can't be read, with the reason."""


class SourceTree:
    """Python files by their path from the repository's root."""

    def __init__(self, sources: dict[str, bytes]) -> None:
        self.sources = sources
        self.folders = {str(folder) for path in sources for folder in PurePosixPath(path).parents}

    def rooted(self, marker: str) -> SourceTree:
        """The tree below the folder that holds ``marker``, the nearest to the root where there are several.

        Raises:
            UnreadableTree: where no folder holds it.
        """
        found = [path for path in self.sources if f"/{path}".endswith(f"/{marker}")]
        if not found:
            raise UnreadableTree(f"it holds no {marker}")
        root = min(found, key=lambda path: (path.count("/"), path)).removesuffix(marker)
        inside = {
            path.removeprefix(root): text for path, text in self.sources.items() if path.startswith(root)
        }
        return SourceTree(inside)

    def find(self, module: str) -> str | None:
        """The path of a module by its dotted name; sources may lie in ``src``."""
        inner = module.replace(".", "/")
        paths = (f"{top}{inner}{end}" for top in ("", "src/") for end in ("/__init__.py", ".py"))
        return next((path for path in paths if path in self.sources), None)

    def holds(self, module: str) -> bool:
        """Whether the tree has that module, or a package folder of that name without ``__init__.py``."""
        inner = module.replace(".", "/")
        return self.find(module) is not None or not self.folders.isdisjoint((inner, f"src/{inner}"))

    def parse(self, path: str) -> ast.Module:
        """The syntax tree of a file.

        Raises:
            UnreadableTree: where it is not Python, or nested too deeply.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.sources[path])
        except SyntaxError as error:
            raise UnreadableTree(f"{path}: {error.msg} (line {error.lineno})") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise UnreadableTree(f"{path}: {str(error) or 'nested too deeply'}") from error


def read_tree(path: Path, limits: Limits = Limits()) -> SourceTree:
    """The Python files of a folder, a zip archive (a wheel is one) or a tar archive (plain, gzip or bzip2).

    Those of a package folder (with ``__init__.py``) are named from its parent, as imports name them; a file that is
    larger than ``limits`` allow is left out.

    Raises:
        UnreadableTree: where it is none of these, damaged, or larger than ``limits`` allow.
    """
    try:
        if path.is_dir():
            base = path.parent if (path / "__init__.py").is_file() else path
            return SourceTree(_bounded(_folder(path, base, limits), limits))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return SourceTree(_bounded(_zip(archive, limits), limits))
        with _Tar.open(path) as tar:
            return SourceTree(_bounded(_tar(tar, limits), limits))
    except UnreadableTree:
        raise
    except _ARCHIVE_ERRORS as error:
        raise UnreadableTree(f"{path.name} is no folder or archive that can be read: {error}") from error


def _bounded(sources: Iterable[tuple[str, bytes]], limits: Limits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    for path, text in sources:
        total += len(text)
        if total > limits.sources:
            raise UnreadableTree(f"it holds more than {limits.sources} bytes of Python")
        if len(text) <= limits.file:
            found[path] = text
    return found


def _folder(root: Path, base: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    for folder, subfolders, names in os.walk(root.resolve()):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if name.endswith(".py") and path.is_file() and not path.is_symlink():
                with path.open("rb") as stream:
                    yield path.relative_to(base.resolve()).as_posix(), stream.read(limits.file + 1)


def _zip(archive: zipfile.ZipFile, limits: Limits) -> Iterator[tuple[str, bytes]]:
    for info in archive.infolist():
        if name := _inside(info.filename):
            with archive.open(info) as stream:
                yield name, stream.read(limits.file + 1)


class _Tar(tarfile.TarFile):
    """A tar archive that keeps no list of its members and reads little for the headers of one."""

    OPEN_METH = {"tar": "taropen", "gz": "gzopen", "bz2": "bz2open"}  # noqa: RUF012
    """How it may be compressed; xz would take as much memory as the archive asks for."""
    members: list[tarfile.TarInfo]
    fileobj: Any

    def next(self) -> tarfile.TarInfo | None:
        self.members.clear()
        stream, self.fileobj = self.fileobj, _Metered(self.fileobj)
        try:
            return super().next()
        finally:
            self.fileobj = stream


class _Metered:
    """The stream below one member's headers; some say themselves how long they are, and are read as a whole."""

    def __init__(self, stream: Any) -> None:
        self.tell, self.seek, self._read = stream.tell, stream.seek, stream.read
        self._left = MAX_HEADERS

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise UnreadableTree(f"the headers of a member take more than {MAX_HEADERS} bytes")
        self._left -= size
        return self._read(size)


def _tar(archive: tarfile.TarFile, limits: Limits) -> Iterator[tuple[str, bytes]]:
    for count, member in enumerate(iter(archive.next, None), 1):
        if archive.offset > limits.unpacked:
            raise UnreadableTree(f"it unpacks to more than {limits.unpacked} bytes")
        if count > limits.members:
            raise UnreadableTree(f"it holds more than {limits.members} files")
        if member.isreg() and (name := _inside(member.name)) and (stream := archive.extractfile(member)):
            yield name, stream.read(limits.file + 1)


def _inside(name: str) -> str | None:
    """The member's path where it is a Python file within the archive."""
    path = PurePosixPath(name)
    if path.suffix != ".py" or path.is_absolute() or ".." in path.parts:
        return None
    return path.as_posix()
