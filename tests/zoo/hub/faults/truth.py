"""What the lake must hold: compared with the Hub at the end, and with what it held before a kill."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import lancedb
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import DELETED, NEW, SKIPPED
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.record import ModelRecord
from tests.standin_hub.repos import Repo


@dataclass(frozen=True)
class Holdings:
    """What a lake holds: digests of the stored records, newest records, and the revisions of the index's rows."""

    records: dict[str, str] = field(default_factory=dict)
    newest: dict[str, ModelRecord] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)


@dataclass
class Violations:
    """What is broken, by kind."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())


def holdings(lake: Lake, found: Violations) -> Holdings:
    """What the lake holds; every file under a final name is read."""
    records = {}
    for path in sorted(lake.root.glob("**/[!.]*")):
        try:
            if path.suffix == ".json" and "cache" not in path.parts:
                json.loads(path.read_text())
            elif path.suffix == ".parquet":
                pq.read_table(path)
                if path.parent.name == "zoo":
                    records[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError) as error:
            found.broken.append(f"{path}: {error}")
    return Holdings(records, Current(lake).records(), _indexed(lake, found))


def _indexed(lake: Lake, found: Violations) -> dict[str, str]:
    """Model → revision in the index; it has to have its layers, each of them once."""
    if not lake.index.exists():
        return {}
    database = lancedb.connect(str(lake.index))
    names = set(database.list_tables().tables)
    rows = {
        name: database.open_table(name).to_arrow().to_pylist() if name in names else []
        for name in ("models", "layers")
    }
    ids = Counter(row["model_id"] for row in rows["models"])
    layers = Counter((row["model_id"], row["layer"]) for row in rows["layers"])
    found.doubled += [
        f"{key} is in the index {count} times" for key, count in (ids + layers).items() if count > 1
    ]
    return {row["model_id"]: row["revision"] for row in rows["models"]}


def compare_with_before(before: Holdings, now: Holdings, found: Violations) -> None:
    """Nothing that was stored is lost, whatever happened in between."""
    found.lost += [
        f"batch {name}" for name, digest in before.records.items() if now.records.get(name) != digest
    ]
    for model_id, revision in before.models.items():
        newest = now.newest[model_id]
        if newest.status == NEW and newest.revision == revision and now.models.get(model_id) != revision:
            found.lost.append(f"{model_id} is no longer in the index")


def compare_with_hub(
    lake: Lake, now: Holdings, repos: dict[str, Repo], unreadable: Collection[str], found: Violations
) -> None:
    """Every model that can be taken is there at its newest revision; the others are skipped or deleted.

    The ``unreadable`` ones may be skipped after the crawl, with a reason.
    """
    skipped = _skipped(lake)
    for model_id, repo in repos.items():
        excused = model_id in unreadable and (model_id, repo.head.sha) in skipped
        _compare(model_id, repo, now, excused, found)
    for model_id in (now.newest.keys() | now.models.keys()) - repos.keys():
        if now.newest[model_id].status != DELETED or model_id in now.models:
            found.stale.append(f"{model_id} is deleted at the Hub")
    found.lost += _without_layers(lake, now)
    found.doubled += _repeated(lake)


def _compare(model_id: str, repo: Repo, now: Holdings, excused: bool, found: Violations) -> None:
    record, indexed = now.newest.get(model_id), now.models.get(model_id)
    status = status_of(repo)
    if record is None:
        if status != DELETED:
            found.lost.append(f"{model_id} has no record")
    elif record.status != status:
        found.stale.append(f"{model_id} is {record.status} ({record.reason}) and not {status}")
    elif status != DELETED and record.revision != repo.head.sha:
        found.stale.append(f"{model_id} is at {record.revision} and not {repo.head.sha}")
    elif status == SKIPPED and not record.reason:
        found.broken.append(f"{model_id} is skipped without a reason")
    wanted = repo.head.sha if status == NEW and not excused else None
    if indexed != wanted:
        (found.stale if indexed else found.lost).append(
            f"{model_id}: the index has {indexed} and not {wanted}"
        )


def status_of(repo: Repo) -> str:
    """What the newest record of a model has to say: one that is hidden is as good as deleted."""
    if repo.item["private"]:
        return DELETED
    weights = [name for name in repo.head.files if name.endswith((".safetensors", ".bin"))]
    return NEW if weights and not repo.item["gated"] and not repo.item["disabled"] else SKIPPED


def _skipped(lake: Lake) -> set[tuple[str, str]]:
    """Models and revisions that were skipped after the crawl with a reason."""
    tables = (lake.inventory(batch) for batch in lake.batches())
    rows = [row for path in tables if path.exists() for row in pq.read_table(path).to_pylist()]
    return {(row["model_id"], row["revision"]) for row in rows if row["status"] == SKIPPED and row["reason"]}


def _without_layers(lake: Lake, now: Holdings) -> Iterator[str]:
    rows = lancedb.connect(str(lake.index)).open_table("layers").to_arrow().to_pylist() if now.models else []
    layers = {(row["model_id"], row["revision"]) for row in rows}
    models = set(now.models.items())
    yield from (f"{model_id} has no layers in the index" for model_id, _ in models - layers)
    yield from (f"layers of {model_id}, which is not in the index" for model_id, _ in layers - models)


def _repeated(lake: Lake) -> Iterator[str]:
    """Models that were processed again without a reason: the same revision, stored twice in a row."""
    stored: dict[str, list[tuple[str, str, str | None]]] = {}
    for batch in lake.batches():
        passing = _passing(lake.inventory(batch)) | _passing(lake.wirings(batch))
        for record in read_records(lake, batch):
            again = record.etag is None or record.model_id in passing
            mark = "" if again else record.revision
            stored.setdefault(record.model_id, []).append((mark, record.status, record.reason))
    for model_id, history in stored.items():
        if any(one == other and one[0] for one, other in pairwise(history)):
            yield f"{model_id} was stored twice at one revision"


def _passing(outcomes: Path) -> set[str]:
    rows = pq.read_table(outcomes).to_pylist() if outcomes.exists() else []
    return {row["model_id"] for row in rows if row["passing"]}
