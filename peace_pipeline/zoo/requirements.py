"""Files of pinned packages, in pip's format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from peace_pipeline.zoo.source import ConfigError

_HASH = re.compile(r"\s--hash[=\s]sha256:([0-9A-Fa-f]{64}|\S*)")
_INCLUDE = re.compile(r"(?:-r|--requirement)[=\s]*(\S.*)")
_REFUSED = re.compile(r"(?:-e|--editable|-c|--constraint)\b")


@dataclass(frozen=True)
class Requirement:
    """One pinned package; ``line`` is what pip gets to see of the file for it."""

    name: str
    version: str
    line: str
    hashes: tuple[str, ...] = ()

    @property
    def model_id(self) -> str:
        return f"packages:{self.name}"

    @property
    def folder(self) -> str:
        """A name for what is unpacked of it: other for other pinned hashes, which are a promise about the content."""
        pins = " ".join(sorted(map(str.lower, self.hashes)))
        return f"{self.name}-{self.version}" + (f"~{sha256(pins.encode()).hexdigest()[:16]}" if pins else "")

    @property
    def key(self) -> str:
        """The package's name as pip compares names."""
        return canonicalize_name(self.name)

    def is_version(self, version: str | None) -> bool:
        """Whether a version is the pinned one (``1.0`` and ``1.0.0`` are the same)."""
        try:
            return Version(version or "") == Version(self.version)
        except InvalidVersion:
            return False


def read_requirements(path: Path) -> list[Requirement]:
    """The packages that a requirements file pins, with those of files that it includes.

    Raises:
        ConfigError: where a file can't be read, or a line can't be used.
    """
    return _unique(_parsed(_lines(path, ())))


def parse_requirements(text: str) -> list[Requirement]:
    """The packages that ``name==version [--hash=…]`` lines pin; comments and empty lines are left out.

    Lines of other options (such as ``--index-url``) are handed to pip with every package.

    Raises:
        ConfigError: where a line pins no version, or a package is pinned to two.
    """
    return _unique(_parsed(list(_joined(text))))


def _joined(text: str) -> Iterator[str]:
    """Lines without comments, those that end in a backslash joined."""
    for line in text.replace("\r\n", "\n").replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if line:
            yield line


def _lines(path: Path, including: tuple[Path, ...]) -> list[str]:
    path = path.resolve()
    if path in including:
        raise ConfigError(f"packages source: {path} includes itself")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"packages source: {path}: {error}") from error
    found = []
    for line in _joined(text):
        included = _INCLUDE.fullmatch(line)
        found += _lines(path.parent / included[1], (*including, path)) if included else [line]
    return found


def _parsed(lines: list[str]) -> Iterator[Requirement]:
    options = [line for line in lines if line.startswith("-")]
    for line in options:
        if _REFUSED.match(line) or _INCLUDE.match(line):
            raise ConfigError(f"packages source: {line!r} can't be used here")
    for line in lines:
        if not line.startswith("-"):
            found = _requirement(line)
            if found is not None:
                yield Requirement(*found, "\n".join([*options, line]), tuple(_HASH.findall(line)))


def _requirement(line: str) -> tuple[str, str] | None:
    """Name and version of a line; ``None`` where its marker says that it is for other machines."""
    try:
        parsed = ParsedRequirement(_HASH.sub("", f" {line}").strip())
    except InvalidRequirement as error:
        raise ConfigError(f"packages source: {line!r} pins no version (name==version): {error}") from error
    pins = [pin for pin in parsed.specifier if pin.operator == "==" and not pin.version.endswith(".*")]
    if len(parsed.specifier) != 1 or not pins:
        raise ConfigError(f"packages source: {line!r} pins no version (name==version)")
    if parsed.marker is not None and not parsed.marker.evaluate():
        return None
    return parsed.name.lower(), pins[0].version


def _unique(requirements: Iterator[Requirement]) -> list[Requirement]:
    found: dict[str, Requirement] = {}
    for each in requirements:
        earlier = found.setdefault(each.key, each)
        if not earlier.is_version(each.version):
            raise ConfigError(
                f"packages source: {each.name} is pinned to {earlier.version} and to {each.version}"
            )
        if not earlier.hashes:
            found[each.key] = each
    return list(found.values())
