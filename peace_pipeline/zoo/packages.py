"""The ``packages`` source: weights inside installed or downloaded wheels, read as files; nothing is imported."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files as resource_files
from pathlib import Path, PurePosixPath

from natsort import natsorted

from peace_pipeline.lake import Lake
from peace_pipeline.zoo import files, wheels
from peace_pipeline.zoo.card import CONFIG, TOKENIZER, enriched
from peace_pipeline.zoo.formats import is_weights
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.requirements import Requirement, parse_requirements, read_requirements
from peace_pipeline.zoo.source import ConfigError, LocalFiles, Progress, gone, register

log = logging.getLogger(__name__)


@register("packages")
class PackagesSource(LocalFiles):
    """Networks that Python packages carry.

    ``requirements`` is a file of pinned packages (by default the list that PEACE ships). A package without a pinned
    hash that is installed in the pinned version is read where it lies. Another's wheel is taken from ``wheelhouse``,
    a folder of wheels, where one is configured: then nothing is ever downloaded and nothing is written there, as with
    pip's ``--no-index --find-links``. Else pip downloads it, with its own configuration and through its cache. Where
    hashes are pinned, models come out of a wheel that has one of them, and of nothing else. Model ids are
    ``packages:PACKAGE/path-in-wheel``, one a weight file.
    """

    source = "packages"

    def __init__(
        self, lake: Lake, base: Path, *, requirements: str | None = None, wheelhouse: str | None = None
    ) -> None:
        if requirements:
            self.requirements = read_requirements(base / Path(requirements).expanduser())
        else:
            shipped = resource_files("peace_pipeline.zoo") / "requirements-zoo.txt"
            self.requirements = parse_requirements(shipped.read_text())
        self.wheelhouse = base / Path(wheelhouse).expanduser() if wheelhouse else None
        self.downloads = lake.root / "zoo" / "wheels"
        self.unpacked = lake.root / "zoo" / "packages"

    @property
    def prefix(self) -> str:
        return "packages:"

    def crawl(self, known: Known, progress: Progress | None = None) -> Iterator[ModelRecord]:
        """Yield what is new, changed or gone; a package that can't be had becomes one skipped record.

        Raises:
            ConfigError: where ``wheelhouse`` is no folder.
        """
        if self.wheelhouse and not self.wheelhouse.is_dir():
            raise ConfigError(f"packages source: {self.wheelhouse} is not a folder")
        models = known.all()
        present: set[str] = set()
        with ThreadPoolExecutor(max_workers=4) as pool:
            fetched = pool.map(self._fetch, self.requirements)
            for done, (requirement, result) in enumerate(zip(self.requirements, fetched, strict=True), 1):
                if isinstance(result, str):
                    yield from self._unavailable(requirement, result, models, present)
                else:
                    yield from self._package(requirement, result, models, present)
                if progress:
                    progress(done, len(self.requirements))
        yield from gone(models, present)

    def _fetch(self, requirement: Requirement) -> Path | str:
        """The folder that holds the package's weights, or why there is none."""
        if not requirement.hashes and (site := _installed(requirement)):
            return site
        folder = self.unpacked / requirement.folder
        if (folder / ".complete").exists():
            return folder
        try:
            wheels.unpack_weights(self._wheel(requirement), folder)
        except wheels.UnusableWheel as error:
            reason = f"{requirement.name} {requirement.version}: {error}"
            log.warning("%s", reason)
            return reason
        return folder

    def _wheel(self, requirement: Requirement) -> Path:
        found = wheels.find(requirement, self.wheelhouse or self.downloads)
        if found is None and self.wheelhouse:
            pinned = " with the pinned sha256" if requirement.hashes else ""
            raise wheels.UnusableWheel(f"no wheel of it{pinned} is in {self.wheelhouse}")
        return found or wheels.download(requirement, self.downloads)

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
            paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        else:
            listed = importlib.metadata.files(requirement.name) or ()
            paths = [Path(path) for path in listed if ".." not in path.parts and (root / path).is_file()]
        return natsorted(path.as_posix() for path in paths if is_weights(path.name))

    def _record(
        self, requirement: Requirement, root: Path, path: str, model_id: str, known: KnownModel | None
    ) -> ModelRecord | None:
        folder, name = (root / path).parent, PurePosixPath(path).name
        names = [name, *(each for each in (CONFIG, TOKENIZER) if (folder / each).is_file())]
        record = ModelRecord(
            "packages",
            model_id,
            "0" * 64,
            folder.as_uri(),
            library=requirement.name,
            tags=(requirement.name,),
        )
        try:
            token = files.etag(folder, names)
            if known and known.etag == token:
                return None
            revision, entries = files.fingerprint(folder, names)
        except OSError as error:
            record = record.skipped(f"unreadable: {error.strerror}")
            return None if known and known.reason == record.reason else record
        if known and known.etag and known.revision == revision:
            return None
        record = replace(record, revision=revision, etag=token, files=entries)
        if len(names) == 1:
            return record
        return replace(enriched(record, folder), tags=record.tags)


def _installed(requirement: Requirement) -> Path | None:
    """Where the package is installed in the pinned version; what lies there can't be told by a wheel's hash."""
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file(""))) if requirement.is_version(distribution.version) else None
