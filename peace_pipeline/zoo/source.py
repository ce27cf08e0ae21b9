"""Zoo sources: one class a kind of place, one registry, one way to crawl them all."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.zoo.record import DELETED, ModelRecord


class ConfigError(ValueError):
    """A peace.toml that can't be used, with the reason."""


class Source(Protocol):
    """A place where models come from.

    ``crawl`` is given the newest known record of each of this source's models and yields a record for every
    model that is new, changed, newly skipped or gone (status ``deleted``), and none for an unchanged one.
    """

    @property
    def prefix(self) -> str:
        """What every model id of this source begins with."""

    def crawl(
        self, known: Mapping[str, ModelRecord], progress: Progress | None = None
    ) -> Iterator[ModelRecord]:
        """Yield the records that differ from ``known`` (model id → record)."""


SourceFactory = Callable[..., Source]
SOURCES: dict[str, SourceFactory] = {}


def register(kind: str) -> Callable[[SourceFactory], SourceFactory]:
    """Class decorator: make a source available to peace.toml as ``kind``.

    The class is called with the lake, the folder that relative paths start from, and the options of its
    ``[[source]]`` table as keyword arguments.
    """

    def add(factory: SourceFactory) -> SourceFactory:
        SOURCES[kind] = factory
        return factory

    return add


@dataclass(frozen=True)
class ZooConfig:
    """The parsed peace.toml: its sources, and the folder that relative paths start from."""

    sources: tuple[dict[str, Any], ...]
    base: Path
    batch_size: int = 500

    @classmethod
    def load(cls, path: Path) -> ZooConfig:
        """Parse a peace.toml.

        Raises:
            ConfigError: where the file is missing, is not TOML, or names an unknown source or option.
        """
        try:
            document = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        unknown = document.keys() - {"source", "batch_size"}
        if unknown:
            raise ConfigError(f"{path}: unknown setting {', '.join(sorted(unknown))}")
        sources = document.get("source", [])
        if not isinstance(sources, list) or not sources:
            raise ConfigError(f"{path}: no [[source]] table")
        if not all(isinstance(source, dict) for source in sources):
            raise ConfigError(f"{path}: a source is not a table")
        batch_size = document.get("batch_size", cls.batch_size)
        if type(batch_size) is not int or batch_size < 1:
            raise ConfigError(f"{path}: batch_size must be a positive integer")
        return cls(tuple(sources), path.absolute().parent, batch_size)

    def build(self, lake: Lake) -> list[Source]:
        """Instantiate the sources.

        Raises:
            ConfigError: where a source is of an unknown kind, lacks an option or has one too many.
        """
        built = []
        for table in self.sources:
            options = dict(table)
            kind = options.pop("kind", None)
            if not isinstance(kind, str) or kind not in SOURCES:
                raise ConfigError(f"source kind {kind!r} is not one of {', '.join(sorted(SOURCES))}")
            try:
                built.append(SOURCES[kind](lake, self.base, **options))
            except TypeError as error:
                raise ConfigError(f"source {kind}: {str(error).split('__init__() ')[-1]}") from error
        prefixes = [source.prefix for source in built]
        if len(set(prefixes)) < len(prefixes):
            raise ConfigError("two sources give the same model ids: set `label` on a directory source")
        return built


def crawl(
    sources: list[Source], known: Mapping[str, ModelRecord], progress: Progress | None = None
) -> Iterator[ModelRecord]:
    """Crawl every source; each sees only its own part of ``known``."""
    for source in sources:
        own = {
            model_id: record
            for model_id, record in known.items()
            if model_id.startswith(source.prefix) and record.status != DELETED
        }
        yield from source.crawl(own, progress)


def gone(known: Mapping[str, ModelRecord], present: set[str]) -> Iterator[ModelRecord]:
    """A ``deleted`` record for each known model that is no longer present."""
    for model_id, record in known.items():
        if model_id not in present:
            yield replace(record, status=DELETED, reason="no longer at its source", files=())
