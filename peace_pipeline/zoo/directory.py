"""The ``directory`` source: any tree in which a folder with weights is a model (Hub layout)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import CONFIG, enriched
from peace_pipeline.zoo.record import KnownModel, ModelRecord, natural
from peace_pipeline.zoo.source import ConfigError, LocalFiles, Progress, gone, register


@register("directory")
class DirectorySource(LocalFiles):
    """Every folder under ``path`` that holds weights or a config.json is one model.

    Model ids are ``directory:LABEL/relative/path``; ``label`` defaults to the folder's name.
    """

    source = "directory"

    def __init__(self, lake: Lake, base: Path, *, path: str, label: str | None = None) -> None:
        self.path = base / Path(path).expanduser()
        self.label = label or self.path.resolve().name
        if "/" in self.label:
            raise ConfigError(f"directory source: label {self.label!r} has a slash")

    @property
    def prefix(self) -> str:
        return f"{self.source}:{self.label}/"

    def crawl(
        self, known: Mapping[str, KnownModel], progress: Progress | None = None
    ) -> Iterator[ModelRecord]:
        """Yield what is new, changed or gone; unchanged files are not opened.

        Raises:
            ConfigError: where ``path`` is no folder, or a folder under it can't be listed (so that a disk that is
                gone doesn't empty the index).
        """
        if not self.path.is_dir():
            raise ConfigError(f"directory source: {self.path} is not a folder")
        present = set()
        for folder, names in model_folders(self.path):
            model_id = self.prefix + _encodable(folder.relative_to(self.path).as_posix())
            present.add(model_id)
            record = read_folder(self.source, model_id, folder, names, known.get(model_id))
            if record is not None:
                yield record
            if progress:
                progress(len(present), 0)
        yield from gone(known, present)


def model_folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders under ``root`` that hold weights or a config.json, with the names of their files."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"directory source: {error.filename}: {error.strerror}") from error

    for folder, subfolders, names in os.walk(root, onerror=refuse):
        subfolders[:] = sorted((name for name in subfolders if not name.startswith(".")), key=natural)
        if CONFIG in names or any(map(files.is_weights, names)):
            yield Path(folder), names


def read_folder(
    source: str, model_id: str, folder: Path, names: list[str], known: KnownModel | None
) -> ModelRecord | None:
    """The record of one model folder, or ``None`` where it is as ``known`` has it."""
    described = files.describing(folder)
    weights, reason = _weights(folder, names)
    try:
        token = files.etag(folder, weights + described)
        if known and known.etag == token and known.reason in (None, reason):
            return None
        revision, entries = files.fingerprint(folder, weights + described)
        modified = files.modified(folder, weights + described) if weights + described else None
    except OSError as error:
        weights, reason = [], f"unreadable: {error.strerror}"
        token, revision, entries, modified = None, "0" * 64, (), None
    if known and (known.etag or reason) and (known.revision, known.reason) == (revision, reason):
        return None
    record = ModelRecord(
        source,
        model_id,
        revision,
        folder.as_uri(),
        token,
        entries,
        last_modified=modified,
        created_at=modified,
    )
    record = enriched(record, folder)
    return record.skipped(reason) if reason else record


def _weights(folder: Path, names: list[str]) -> tuple[list[str], str | None]:
    """The files that are the folder's model, or why there are none."""
    try:
        weights = files.choose(names)
    except files.AmbiguousWeights as error:
        return [], str(error)
    except ValueError:
        return [], "config.json but no weights"
    for path in (str(folder), *weights):
        if _encodable(path) != path:
            return [], "the folder's name is not UTF-8" if path == str(
                folder
            ) else "a file's name is not UTF-8"
    return weights, None


def _encodable(name: str) -> str:
    """A name with every byte that is not UTF-8 spelled out, so that it can be stored."""
    return os.fsencode(name).decode(errors="backslashreplace")
