"""The ``directory`` source: any tree of folders with weights."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import enriched
from peace_pipeline.zoo.folders import FolderModel, data_beside, folder_and_name, model_folders, models_of
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.source import ConfigError, LocalFiles, Progress, gone, register

UNREAD = "0" * 64
"""The revision of what can't be read."""


@register("directory")
class DirectorySource(LocalFiles):
    """Every folder under ``path`` that holds weights or a config.json is a model, or several.

    Model ids are ``directory:LABEL/relative/path``, with ``#file`` behind them for what isn't the folder's own network;
    ``label`` defaults to the folder's name.
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

    def fetch(self, record: ModelRecord) -> Path:
        """The folder that the record's ``uri`` names; where it is no longer there, what its id names below ``path``:
        files that moved with the source are no change to a crawl."""
        folder, place = super().fetch(record), self.path / record.model_id.removeprefix(self.prefix)
        if folder.is_dir() or place.is_dir():
            return folder if folder.is_dir() else place
        moved = folder_and_name(str(place))
        return moved[0] if moved else folder

    def crawl(self, known: Known, progress: Progress | None = None) -> Iterator[ModelRecord]:
        """Yield what is new, changed or gone; of unchanged folders at most an index of shards is opened.

        Where a folder can't be listed, what was known in it is kept; else it is one skipped record.

        Raises:
            ConfigError: where ``path`` is no folder or can't be listed (so that a disk that is gone doesn't empty the
                index).
        """
        if not self.path.is_dir():
            raise ConfigError(f"directory source: {self.path} is not a folder")
        models = known.all()
        present: set[str] = set()
        closed: list[OSError] = []
        for folder in model_folders(self.path, closed.append):
            for model in _models(folder):
                model_id = self._model_id(folder, model.name)
                present.add(model_id)
                record = read_model(self.source, model_id, folder, model, models.get(model_id))
                if record is not None:
                    yield record
                if progress:
                    progress(len(present), 0)
        for error in closed:
            yield from self._unlisted(error, models, present)
        yield from gone(models, present)

    def _model_id(self, folder: Path, name: str = "") -> str:
        place = folder.relative_to(self.path).as_posix()
        return self.prefix + _encodable(f"{place}#{name}" if name else place)

    def _unlisted(
        self, error: OSError, known: Mapping[str, KnownModel], present: set[str]
    ) -> Iterator[ModelRecord]:
        folder = Path(error.filename)
        if folder == self.path:
            raise ConfigError(f"directory source: {folder}: {error.strerror}") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):  # removed while the tree was read
            return
        model_id = self._model_id(folder)
        kept = {each for each in known if f"{each}/".startswith((f"{model_id}/", f"{model_id}#"))}
        present |= kept | {model_id}
        if not kept:
            record = ModelRecord(self.source, model_id, UNREAD, folder.as_uri())
            yield record.skipped(f"unreadable: {error.strerror}")


def _models(folder: Path) -> list[FolderModel]:
    """The models of a folder, or the reason why there are none."""
    try:
        found = models_of(folder) or [FolderModel("", reason="config.json but no weights")]
        return found + data_beside(folder, found)
    except files.AmbiguousWeights as error:
        return [FolderModel("", reason=str(error))]
    except OSError as error:
        return [FolderModel("", reason=f"unreadable: {error.strerror}")]


def read_model(
    source: str, model_id: str, folder: Path, model: FolderModel, known: KnownModel | None
) -> ModelRecord | None:
    """The record of one model of a folder, or ``None`` where it is as ``known`` has it."""
    described = files.describing(folder, model.parts)
    weights, reason = _weights(folder, model)
    try:
        token = files.etag(folder, weights + described)
        if known and known.etag == token and known.reason in (None, reason):
            return None
        revision, entries = files.fingerprint(folder, weights + described)
        modified = files.modified(folder, weights + described) if weights + described else None
    except OSError as error:
        weights, reason = [], f"unreadable: {error.strerror}"
        token, revision, entries, modified = None, UNREAD, (), None
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
    if model.variants:
        record = replace(
            record, tags=(*record.tags, *(f"variant:{_encodable(name)}" for name in model.variants))
        )
    return record.skipped(reason) if reason else record


def _weights(folder: Path, model: FolderModel) -> tuple[list[str], str | None]:
    """The files that are a model, or why there are none."""
    if model.reason:
        return [], model.reason
    weights = list(model.files)
    if _encodable(str(folder)) != str(folder):
        return [], "the folder's name is not UTF-8"
    if any(_encodable(name) != name for name in weights):
        return [], "a file's name is not UTF-8"
    return weights, None


def _encodable(name: str) -> str:
    """A name with every byte that is not UTF-8 spelled out, so that it can be stored."""
    return os.fsencode(name).decode(errors="backslashreplace")
