"""What the sources whose models are links in a repository's code have in common."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from peace_pipeline.lake import Lake
from peace_pipeline.zoo import files
from peace_pipeline.zoo.formats import format_of, is_weights
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import ModelFile, ModelRecord
from peace_pipeline.zoo.source import (
    ConfigError,
    FetchError,
    Progress,
    SourceUnavailable,
    WholeFiles,
    gone,
)
from peace_pipeline.zoo.torch_hub.tree import SourceTree, UnreadableTree, read_tree

_ARCHIVE_LIMIT = 2 << 30
_WEIGHTS_LIMIT = 64 << 30
_ARCHIVE = re.compile(r"(-\d[^/]*\.whl|\.(zip|tar|tgz|tbz2|txz)(\.\w+)?)$")
_URL = re.compile(r"https?://(?:[^\s\x00-\x20\ud800-\udfff%{}]|%[0-9A-Fa-f]{2})+")
"""A whole URL; one with placeholders is none."""
_DIGEST = re.compile(r"-(?!(?:19|20)\d{2}(?:0[1-9]|1[0-2])[0-3]\d\.)([0-9a-f]{8,64})\.")
"""The first digits of a file's sha256 as its name gives them; a date is none."""


class LinkedWeights(WholeFiles, ABC):
    """A source that reads links to weight files out of the Python code of a repository.

    ``where`` is a folder or an archive on this machine, the name of an installed package, or an archive's URL. Code
    is only parsed. An archive is downloaded again when its server says that it changed. Where the code can't be read,
    one skipped record says so and what an earlier crawl found is kept.
    """

    source: str
    marker: str
    origin = "http"

    def __init__(self, lake: Lake, base: Path, where: str) -> None:
        if not isinstance(where, str):
            raise ConfigError(f"{self.source} source: {where!r} is no path and no URL")
        if is_url(where) and "@" in urlparse(where).netloc:
            raise ConfigError(f"{self.source} source: no credentials in a URL, which records and logs repeat")
        self.base, self.where = base, where
        self.folder = lake.root / "zoo" / self.source

    @property
    @abstractmethod
    def prefix(self) -> str:
        """What every model id of this source begins with."""

    @abstractmethod
    def records(self, tree: SourceTree) -> Iterator[ModelRecord]:
        """Every model that the repository names."""

    def crawl(self, known: Known, progress: Progress | None = None) -> Iterator[ModelRecord]:
        """Yield what is new, changed or gone; no weights are downloaded.

        Raises:
            ConfigError: where nothing is where it is configured.
            SourceUnavailable: where the archive can't be downloaded.
        """
        models = known.all()
        present: set[str] = set()
        try:
            found = list(self.records(read_tree(self._located()).rooted(self.marker)))
        except UnreadableTree as error:
            found = [unusable(self.source, self.prefix + self.marker, f"{self.where}: {error}")]
            present |= models.keys()
        for record in found:
            present.add(record.model_id)
            before = models.get(record.model_id)
            if before is None or before.etag != record.etag:
                yield record
            if progress:
                progress(len(present), 0)
        yield from gone(models, present)

    def _located(self) -> Path:
        """The folder or archive that holds the code."""
        if is_url(self.where):
            return self._download()
        path = self.base / Path(self.where).expanduser()
        if path.exists():
            return path
        spec = importlib.util.find_spec(self.where) if self.where.isidentifier() else None
        if spec and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0])
        raise ConfigError(
            f"{self.source} source: {self.where!r} is no folder or archive, no installed package and no URL"
        )

    def _download(self) -> Path:
        from peace_pipeline.zoo.torch_hub.downloads import refresh

        archive = self.folder / "archives" / hashlib.sha256(self.where.encode()).hexdigest()
        try:
            refresh(self.where, archive, limit=_ARCHIVE_LIMIT)
        except FetchError as error:
            raise SourceUnavailable(str(error)) from error
        return archive

    def fetch(self, record: ModelRecord) -> Path:
        """Download the record's file, verified by the digest that its name gives.

        Raises:
            FetchError: where it can't be had, or is not what its digest says.
        """
        from peace_pipeline.zoo.torch_hub.downloads import download

        (file,) = record.files
        path = self._copy(record) / file.path
        if not (path.exists() and files.matches(path, file)):
            download(record.uri, path, file.sha256, limit=_WEIGHTS_LIMIT)
        return path.parent

    def release(self, records: Iterable[ModelRecord]) -> None:
        """Delete the downloaded copies."""
        for record in records:
            shutil.rmtree(self._copy(record), ignore_errors=True)

    def _copy(self, record: ModelRecord) -> Path:
        name = hashlib.sha256(f"{record.model_id}\0{record.revision}".encode()).hexdigest()
        return self.folder / "weights" / name


def is_url(text: str) -> bool:
    """Whether a text is an http(s) URL."""
    try:
        return _URL.fullmatch(text) is not None and bool(urlparse(text).hostname)
    except ValueError:  # a host that is none
        return False


def label_of(where: str) -> str:
    """A repository's name: as code hosts give it in an archive's URL, else the folder's or the archive's."""
    if is_url(where):
        path = unquote(urlparse(where).path)
        hosted = re.search(r"/([^/]+)/(?:-/)?(?:archive|zipball|tarball|zip|tar\.gz|legacy\.[\w.]+)/", path)
        return hosted[1] if hosted else _ARCHIVE.sub("", PurePosixPath(path).name)
    return _ARCHIVE.sub("", Path(where).expanduser().absolute().name)


def file_name(url: str) -> str:
    """The name that a link's file gets on this machine; one without a weight suffix is a PyTorch file."""
    name = re.sub(r"[^A-Za-z0-9_.+=-]", "_", PurePosixPath(unquote(urlparse(url).path)).name)
    name = name[-200:].lstrip(".")
    return name if is_weights(name) else f"{name or 'weights'}.pth"


def linked(source: str, model_id: str, url: str, **fields: Any) -> ModelRecord:
    """The record of a model behind a link; its revision says what the link says, as no byte is read."""
    name = file_name(url)
    digest = _DIGEST.search(name)
    file = ModelFile(name, None, digest[1] if digest else None, format_of(name))
    revision = hashlib.sha256(f"{url}\0{file.sha256}\0{name}".encode()).hexdigest()
    return _tagged(ModelRecord(source, model_id, revision, url, files=(file,), **fields))


def unusable(source: str, model_id: str, reason: str, **fields: Any) -> ModelRecord:
    """The record of what names no weights."""
    name = storable(model_id)
    return _tagged(ModelRecord(source, name, "0" * 64, name, **fields).skipped(storable(reason)))


def _tagged(record: ModelRecord) -> ModelRecord:
    """``record`` with an etag over all that it says."""
    return replace(record, etag=hashlib.sha256(repr(record).encode()).hexdigest())


def storable(text: str) -> str:
    """A text of the repository without the characters that UTF-8 has no bytes for."""
    return text.encode("utf-8", "replace").decode()
