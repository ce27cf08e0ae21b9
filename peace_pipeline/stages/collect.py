"""What nobody needs any more: superseded layers and responses, old encoders and embeddings, leftovers, old versions."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from peace_pipeline.encoder.store import current_version
from peace_pipeline.index.tables import (
    INDEX_TABLES,
    maintain,
    served_version,
    table_names,
    writer_lock,
)
from peace_pipeline.lake import Lake, tables, write_parquet
from peace_pipeline.lake.lance import connect
from peace_pipeline.responses.table import SCHEMA as RESPONSES
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.zoo.current import Current, writing

if TYPE_CHECKING:
    from lancedb.table import Table

DAY = timedelta(days=1)
_UNFINISHED = re.compile(r"\..*\.?[a-z0-9_]{8}")
"""Names of files and folders that are written and then renamed."""
_SUPERSEDED = {"layers": tables.LAYERS.schema, "responses": RESPONSES}
"""Kinds of garbage of which a table without rows stays, and its schema."""


@dataclass(frozen=True)
class Garbage:
    """A file or folder that can go: ``kind`` is layers, responses, embeddings, encoder, unfinished or
    versions.

    ``bytes`` are freed by it; not known beforehand of old versions of LanceDB tables.
    """

    kind: str
    path: Path
    bytes: int | None

    def as_dict(self) -> dict[str, str | int | None]:
        """The fields as a JSON object."""
        return {"kind": self.kind, "path": str(self.path), "bytes": self.bytes}


def collect(lake: Lake, *, older_than: timedelta = DAY, dry_run: bool = False) -> list[Garbage]:
    """Delete what nobody needs any more, or only say what it is; reads the whole lake's current state once.

    Nothing goes that is younger than ``older_than``, since a stage may still be writing or reading it, nor what the
    index serves or the current encoder made. A batch's layers and responses go when each of its models is gone or has a
    newer revision and all newer batches are in the index; tables without rows stay in their place, so that the batch
    doesn't become stale. Of LanceDB tables, versions before the last one go, and new rows are folded into indexes.
    """
    files = [*_old_encoders(lake), *_unfinished(lake), *_superseded(lake)]
    latest = time.time() - older_than.total_seconds()
    garbage = [one for one in files if _changed(one.path) < latest]
    for one in () if dry_run else garbage:
        _delete(one)
    return garbage + (_old_versions(lake, older_than) if dry_run else _discard_versions(lake, older_than))


def _delete(one: Garbage) -> None:
    if one.kind in _SUPERSEDED:
        written = one.path.stat().st_mtime_ns
        write_parquet(_SUPERSEDED[one.kind].empty_table(), one.path)
        os.utime(one.path, ns=(written, written))  # nothing that was made of it has to be made again
    elif one.path.is_dir():
        shutil.rmtree(one.path)
    else:
        one.path.unlink(missing_ok=True)


def _old_encoders(lake: Lake) -> Iterator[Garbage]:
    """Encoders that are neither current nor served, and what they made."""
    current = current_version(lake)
    if current is None:
        return
    needed = {current, served_version(lake)}
    for kind, folder in (
        ("embeddings", lake.embeddings("network", "x", "x").parents[2]),
        ("encoder", lake.encoders),
    ):
        for path in _entries(folder):
            if path.is_dir() and path.name not in needed and not path.name.startswith("."):
                yield Garbage(kind, path, _size(path))


def _unfinished(lake: Lake) -> Iterator[Garbage]:
    """What a killed process was writing."""
    folders = {
        table.under(lake.root, batch="x", encoder_version="*").parent for table in tables.TABLES.values()
    }
    places = {place for folder in folders for place in lake.root.glob(str(folder.relative_to(lake.root)))}
    for path in (path for place in places | {lake.encoders} for path in _entries(place)):
        if _UNFINISHED.fullmatch(path.name):
            yield Garbage("unfinished", path, _size(path))


def _superseded(lake: Lake) -> Iterator[Garbage]:
    """Layers and responses of batches older than every stale one in which no model is current."""
    stale, current = stale_batches(lake), Current(lake)
    needed = {
        batch for rows in current.scan(["batch"], "status = 'new'") for batch in rows["batch"].to_pylist()
    }
    for batch in lake.batches():
        if batch in needed or batch <= max(stale, default=""):
            continue
        for kind, path in (("layers", lake.layers(batch)), ("responses", lake.responses(batch))):
            if path.exists() and pq.read_metadata(path).num_rows:
                yield Garbage(kind, path, _size(path))


def _old_versions(lake: Lake, older_than: timedelta) -> list[Garbage]:
    latest = time.time() - older_than.total_seconds()
    return [
        Garbage("versions", path, None)
        for path, table in _lance_tables(lake)
        if any(version["timestamp"].timestamp() < latest for version in table.list_versions()[:-1])
    ]


def _discard_versions(lake: Lake, older_than: timedelta) -> list[Garbage]:
    freed = []
    with writer_lock(lake), writing(lake):
        for path, table in _lance_tables(lake):
            before = _size(path)
            if kind := INDEX_TABLES.get(path.stem) if path.parent == lake.index else None:
                maintain(table, kind, thoroughly=True)
            table.optimize(cleanup_older_than=older_than)
            if (after := _size(path)) < before:
                freed.append(Garbage("versions", path, before - after))
    return freed


def _lance_tables(lake: Lake) -> Iterable[tuple[Path, Table]]:
    for folder in (lake.index, lake.current):
        if folder.exists():
            database = connect(folder)
            for name in sorted(table_names(database)):
                yield folder / f"{name}.lance", database.open_table(name)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    return sum(status.st_size for status in _statuses(path) if S_ISREG(status.st_mode))


def _changed(path: Path) -> float:
    """When a file, or the newest of a folder and all below it, was written; now, where it is just gone."""
    return max((status.st_mtime for status in _statuses(path)), default=time.time())


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of a file, or a folder and all below it; a stage may rename or delete them meanwhile."""
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        with suppress(FileNotFoundError):
            yield each.stat()
