"""The ``packages`` source: weights inside installed or downloaded wheels, read as files; nothing is imported."""

from __future__ import annotations

import importlib.metadata
import logging
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import files as resource_files
from pathlib import Path, PurePosixPath

from peace_pipeline.lake import Lake, atomic
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import CONFIG, enriched
from peace_pipeline.zoo.record import KnownModel, ModelRecord, natural
from peace_pipeline.zoo.source import ConfigError, LocalFiles, Progress, gone, register

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requirement:
    """One pinned line of a requirements file."""

    name: str
    version: str
    line: str

    @property
    def model_id(self) -> str:
        return f"packages:{self.name}"


def parse_requirements(text: str) -> list[Requirement]:
    """Read ``name==version [--hash=…]`` lines; comments and empty lines are left out.

    Raises:
        ConfigError: where a line pins no version.
    """
    requirements = []
    for line in text.replace("\\\n", " ").splitlines():
        line = line.split(" #")[0].strip()
        if not line or line.startswith(("#", "-")):
            continue
        match = re.match(r"([A-Za-z0-9._-]+)\s*==\s*([^\s;]+)", line)
        if match is None:
            raise ConfigError(f"packages source: {line!r} pins no version (name==version)")
        requirements.append(Requirement(match[1].lower(), match[2], line))
    return requirements


@register("packages")
class PackagesSource(LocalFiles):
    """Networks that Python packages carry.

    ``requirements`` is a file of pinned packages (by default the list that PEACE ships); ``wheelhouse`` a
    folder of wheels to take them from. A package that is neither installed in the pinned version nor in the
    wheelhouse is downloaded by pip. Model ids are ``packages:PACKAGE/path-in-wheel``, one a weight file.
    """

    source = "packages"

    def __init__(
        self, lake: Lake, base: Path, *, requirements: str | None = None, wheelhouse: str | None = None
    ) -> None:
        shipped = resource_files("peace_pipeline.zoo") / "requirements-zoo.txt"
        try:
            text = (base / requirements).read_text() if requirements else shipped.read_text()
        except OSError as error:
            raise ConfigError(f"packages source: {error}") from error
        self.requirements = parse_requirements(text)
        self.wheels = base / wheelhouse if wheelhouse else lake.root / "zoo" / "wheels"
        self.unpacked = lake.root / "zoo" / "packages"

    @property
    def prefix(self) -> str:
        return "packages:"

    def crawl(
        self, known: Mapping[str, KnownModel], progress: Progress | None = None
    ) -> Iterator[ModelRecord]:
        """Yield what is new, changed or gone; a package that can't be had becomes one skipped record."""
        present: set[str] = set()
        with ThreadPoolExecutor(max_workers=4) as pool:
            fetched = pool.map(self._fetch, self.requirements)
            for done, (requirement, result) in enumerate(zip(self.requirements, fetched, strict=True), 1):
                if isinstance(result, str):
                    yield from self._unavailable(requirement, result, known, present)
                else:
                    yield from self._package(requirement, result, known, present)
                if progress:
                    progress(done, len(self.requirements))
        yield from gone(known, present)

    def _fetch(self, requirement: Requirement) -> Path | str:
        """The folder that holds the package's weights, or why there is none."""
        try:
            distribution = importlib.metadata.distribution(requirement.name)
            if distribution.version == requirement.version:
                return Path(str(distribution.locate_file("")))
        except importlib.metadata.PackageNotFoundError:
            pass
        folder = self.unpacked / f"{requirement.name}-{requirement.version}"
        if (folder / ".complete").exists():
            return folder
        wheel = self._wheel(requirement) or self._download(requirement)
        if isinstance(wheel, str):
            log.warning("%s %s: %s", requirement.name, requirement.version, wheel)
            return wheel
        try:
            unpack_weights(wheel, folder)
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            return f"wheel can't be unpacked: {error}"
        return folder

    def _wheel(self, requirement: Requirement) -> Path | None:
        wanted = (_normalised(requirement.name), requirement.version)
        for path in sorted(self.wheels.glob("*.whl")):
            name, _, rest = path.name.partition("-")
            if (_normalised(name), rest.split("-")[0]) == wanted:
                return path
        return None

    def _download(self, requirement: Requirement) -> Path | str:
        self.wheels.mkdir(parents=True, exist_ok=True)
        pinned = self.wheels / f"{requirement.name}.txt"
        with atomic(pinned) as temporary:
            temporary.write_text(requirement.line + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--retries", "1", "--dest", str(self.wheels)]
        done = subprocess.run([*command, "-r", str(pinned)], capture_output=True, text=True, check=False)
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return self._wheel(requirement) or f"could not be downloaded: {' '.join(errors[-1:]) or 'pip failed'}"

    def _unavailable(
        self, requirement: Requirement, reason: str, known: Mapping[str, KnownModel], present: set[str]
    ) -> Iterator[ModelRecord]:
        """Keep what an earlier crawl found in the package; else say why there is nothing."""
        earlier = {model_id for model_id in known if model_id.startswith(requirement.model_id + "/")}
        present |= earlier | {requirement.model_id}
        if not earlier and requirement.model_id not in known:
            revision = requirement.version
            yield ModelRecord("packages", requirement.model_id, revision, requirement.model_id).skipped(
                reason
            )

    def _package(
        self, requirement: Requirement, root: Path, known: Mapping[str, KnownModel], present: set[str]
    ) -> Iterator[ModelRecord]:
        for path in self._weight_files(requirement, root):
            model_id = f"{requirement.model_id}/{path}"
            present.add(model_id)
            record = self._record(requirement, root, path, model_id, known.get(model_id))
            if record is not None:
                yield record

    def _weight_files(self, requirement: Requirement, root: Path) -> list[str]:
        if root.is_relative_to(self.unpacked):
            paths = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        else:
            listed = importlib.metadata.files(requirement.name) or ()
            paths = [path.as_posix() for path in listed if (root / path).is_file()]
        return sorted(filter(lambda path: files.is_weights(PurePosixPath(path).name), paths), key=natural)

    def _record(
        self, requirement: Requirement, root: Path, path: str, model_id: str, known: KnownModel | None
    ) -> ModelRecord | None:
        folder, name = (root / path).parent, PurePosixPath(path).name
        config = [CONFIG] if (folder / CONFIG).is_file() else []
        token = files.etag(folder, [name, *config])
        if known and known.etag == token:
            return None
        revision, entries = files.fingerprint(folder, [name, *config])
        if known and known.etag and known.revision == revision:
            return None
        record = ModelRecord("packages", model_id, revision, folder.as_uri(), token, entries)
        record = enriched(record, folder) if config else record
        return replace(record, library=record.library or requirement.name, tags=(requirement.name,))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def unpack_weights(wheel: Path, folder: Path) -> None:
    """Unpack a wheel's weight files and the configs beside them into ``folder``; marks it complete at the end.

    Names are made safe by :mod:`zipfile` (no ``..``, no absolute paths).
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if files.is_weights(PurePosixPath(name).name)]
        folders = {PurePosixPath(name).parent for name in names}
        names += [name for name in archive.namelist() if PurePosixPath(name).name == CONFIG]
        for name in names:
            if PurePosixPath(name).parent in folders:
                archive.extract(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".complete").touch()
