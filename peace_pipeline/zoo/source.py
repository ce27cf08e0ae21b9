"""Zoo sources: one class a kind, one registry, one way to crawl them all."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import DELETED
from peace_pipeline.progress import Progress
from peace_pipeline.zoo.blob import Blob
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord


class ConfigError(ValueError):
    """A peace.toml that can't be used, with the reason."""


class NotConfigured(ConfigError):
    """There is no peace.toml."""


class SourceUnavailable(Exception):
    """A source could not be crawled to its end, with the reason; the next crawl goes on from there."""


class FetchError(Exception):
    """The files of a model can't be had, with the reason; ``passing`` where a later try may succeed."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass(frozen=True)
class Milestone:
    """A point in a crawl: ``reached`` is called once every record that was yielded before it is stored."""

    reached: Callable[[], None]


Found = ModelRecord | Milestone


@dataclass(frozen=True)
class Ranged:
    """A model whose weights are read where they lie, at most ``budget`` bytes of them.

    Its other files are in ``folder``, where what is read may be put as well.
    """

    weights: tuple[Blob, ...]
    folder: Path
    budget: int


class Source(Protocol):
    """Where models come from.

    ``crawl`` is given what is known of this source's models and yields a record for every model that is new,
    changed, newly skipped or gone (status ``deleted``), and none for an unchanged one. Where a source can go on
    with a long crawl that broke off, it yields milestones in between.
    """

    @property
    def source(self) -> str:
        """The ``source`` of its records."""

    @property
    def prefix(self) -> str:
        """What every model id of this source begins with."""

    @property
    def origin(self) -> str:
        """What the ``uri`` of every record of this source whose files can be had begins with."""

    def crawl(self, known: Known, progress: Progress | None = None) -> Iterator[Found]:
        """Yield the records that differ from what is known."""

    def fetch(self, record: ModelRecord) -> Path:
        """The local folder that holds the record's files, brought there where need be.

        Raises:
            FetchError: where this model can't be had.
        """

    def ranged(self, record: ModelRecord) -> Ranged | None:
        """The record's weights where only a part of them is to be read; else ``None``.

        Raises:
            FetchError: where this model can't be had.
        """

    def release(self, records: Iterable[ModelRecord]) -> None:
        """Give up the local copies of these records' files, where they can be had again."""


class WholeFiles:
    """What sources have in common whose files are had as a whole."""

    def ranged(self, record: ModelRecord) -> Ranged | None:
        """Never."""
        return None


class LocalFiles(WholeFiles):
    """What sources whose files lie on this machine have in common."""

    origin = "file:"

    def fetch(self, record: ModelRecord) -> Path:
        """The folder that the record's ``uri`` names."""
        return local_folder(record)

    def release(self, records: Iterable[ModelRecord]) -> None:
        """Nothing: the files are not copies."""


def local_folder(record: ModelRecord) -> Path:
    """The folder of a record whose files lie on this machine."""
    return Path(unquote(urlparse(record.uri).path))


SourceFactory = Callable[..., Source]
RUN = NEVER, AUTO, ALWAYS = ("never", "auto", "always")
"""Which networks are run: none, those that take little, all that can be."""
_MODULES = ("directory", "hub.source", "packages", "torch_hub", "training")
_SOURCES: dict[str, SourceFactory] = {}


def register(kind: str) -> Callable[[SourceFactory], SourceFactory]:
    """Class decorator: make a source available to peace.toml as ``kind``, if :func:`all_sources` imports its module.

    The class is called with the lake, the folder that relative paths start from, and the options of its
    ``[[source]]`` table as keyword arguments.
    """

    def add(factory: SourceFactory) -> SourceFactory:
        _SOURCES[kind] = factory
        return factory

    return add


@cache
def all_sources() -> dict[str, SourceFactory]:
    """Every source by its kind: their modules register them."""
    for module in _MODULES:
        import_module(f"{__package__}.{module}")
    return _SOURCES


@dataclass(frozen=True)
class ZooConfig:
    """The parsed peace.toml: its sources, the folder that relative paths start from, and which networks are run."""

    sources: tuple[dict[str, Any], ...]
    base: Path
    batch_size: int = 500
    responses: str = AUTO

    @classmethod
    def find(cls, lake: Lake, path: str = "") -> ZooConfig:
        """The configuration at ``path`` if given, else ``./peace.toml``, else the lake's peace.toml.

        Raises:
            NotConfigured: where none of them exists.
            ConfigError: where it can't be used.
        """
        if found := cls.place(lake, path):
            return cls.load(found)
        places = " and ".join(map(str, cls._places(lake, path)))
        hint = "" if path else "; `peace init` writes one"
        raise NotConfigured(f"no zoo is configured: {places} not found{hint}")

    @classmethod
    def place(cls, lake: Lake, path: str = "") -> Path | None:
        """Where :meth:`find` finds it; ``None`` where it finds none."""
        is_there = Path.exists if path else Path.is_file
        return next(filter(is_there, cls._places(lake, path)), None)

    @staticmethod
    def _places(lake: Lake, path: str) -> list[Path]:
        return [Path(path)] if path else [Path("peace.toml"), lake.root / "peace.toml"]

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
        unknown = document.keys() - {"source", "batch_size", "responses"}
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
        responses = document.get("responses", cls.responses)
        if responses not in RUN:
            raise ConfigError(f"{path}: responses must be one of {', '.join(RUN)}")
        return cls(tuple(sources), path.absolute().parent, batch_size, responses)

    def build(self, lake: Lake) -> list[Source]:
        """Instantiate the sources.

        Raises:
            ConfigError: where a source is of an unknown kind, lacks an option or has one too many.
        """
        built, kinds = [], all_sources()
        for table in self.sources:
            options = dict(table)
            kind = options.pop("kind", None)
            if not isinstance(kind, str) or kind not in kinds:
                raise ConfigError(f"source kind {kind!r} is not one of {', '.join(sorted(kinds))}")
            known = [name for name in signature(kinds[kind]).parameters if name not in ("lake", "base")]
            if unknown := options.keys() - known:
                raise ConfigError(
                    f"source {kind}: no option {', '.join(sorted(unknown))}; there are {', '.join(known)}"
                )
            try:
                built.append(kinds[kind](lake, self.base, **options))
            except TypeError as error:
                raise ConfigError(f"source {kind}: {str(error).split('__init__() ')[-1]}") from error
        prefixes = [source.prefix for source in built if source.prefix]
        if len(set(prefixes)) < len(prefixes):
            raise ConfigError("two sources give the same model ids: set `label` on a directory source")
        return built


def configured_responses(lake: Lake, path: str = "") -> str:
    """Which networks are run by the peace.toml at ``path`` (see :meth:`ZooConfig.find`); ``auto`` without one.

    Raises:
        ConfigError: where it can't be used.
    """
    try:
        return ZooConfig.find(lake, path).responses
    except NotConfigured:
        return AUTO


def crawl(
    sources: list[Source], known: Callable[[Source], Known], progress: Progress | None = None
) -> Iterator[Found]:
    """Crawl every source with what is ``known`` of its models.

    Raises:
        SourceUnavailable: at the end, where a source could not be crawled; it doesn't stop the others.
    """
    failures = []
    for source in sources:
        try:
            yield from source.crawl(known(source), progress)
        except SourceUnavailable as error:
            failures.append(f"source {source.source}: {error}")
    if failures:
        raise SourceUnavailable("; ".join(failures))


def deleted(model_id: str, known: KnownModel) -> ModelRecord:
    """The record of a model that is no longer at its source."""
    return ModelRecord(
        known.source,
        model_id,
        known.revision,
        known.uri,
        status=DELETED,
        reason="no longer at its source",
    )


def gone(known: Mapping[str, KnownModel], present: set[str]) -> Iterator[ModelRecord]:
    """A ``deleted`` record for each known model that is no longer present."""
    for model_id in known.keys() - present:
        yield deleted(model_id, known[model_id])
