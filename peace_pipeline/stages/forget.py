"""Leaving models out that the lake has: a batch of their records that says so, which the later stages follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.lake.locks import alone
from peace_pipeline.lake.tables import DELETED, FORGOTTEN, REMEMBERED, SKIPPED
from peace_pipeline.stages.about import UnknownModel
from peace_pipeline.stages.crawl import lock_of_crawls
from peace_pipeline.zoo.batches import store_batch
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.names import did_you_mean, meant
from peace_pipeline.zoo.record import ModelRecord

_BATCH = 500


@dataclass(frozen=True)
class Forgotten:
    """The models that are left out now, and the batches that say so."""

    models: list[str]
    batches: list[str]


def forget(lake: Lake, name: str, *, again: bool = False) -> Forgotten:
    """Leave out a model, or all models of a source: a kind such as ``huggingface``, or what ids begin with up to a
    slash or a colon (``org/``, ``directory:models/``, or ``directory:models``). A place that holds several networks and
    none of its own stands for all of them.

    A crawl finds a forgotten model again when it has another revision. With ``again`` those of ``name`` that were
    forgotten are remembered instead: the next crawl finds them as new ones.

    Raises:
        UnknownModel: where the lake has none of that name, or none that is (or isn't) forgotten.
    """
    with alone(lock_of_crawls(lake), "crawl"):
        names = (name, f"{name}#", _of_directory(name))
        records = next(filter(None, (_named(lake, one, again=again) for one in names)), [])
        if not records:
            raise UnknownModel(_none(lake, name, again=again))
        status, reason = (DELETED, REMEMBERED) if again else (SKIPPED, FORGOTTEN)
        said = [replace(record, status=status, reason=reason) for record in records]
        batches = [store_batch(lake, said[start : start + _BATCH]) for start in range(0, len(said), _BATCH)]
    return Forgotten([record.model_id for record in said], batches)


def _of_directory(name: str) -> str:
    """What is at the top of a directory source, ``directory:models#a.pt``, as its id; of one that is called by its
    label alone (``directory:models``) all of it."""
    own = meant(name)
    return own.removesuffix(".") if own != name and "#" not in name else own


def _named(lake: Lake, name: str, *, again: bool) -> list[ModelRecord]:
    was_forgotten = f"status = '{SKIPPED}' AND reason = '{FORGOTTEN}'"
    state = was_forgotten if again else f"status <> '{DELETED}' AND NOT coalesce({was_forgotten}, false)"
    own = f"model_id = {quoted(name)} OR source = {quoted(name)}"
    if name.endswith(("/", ":", "#")):
        own += f" OR starts_with(model_id, {quoted(name)})"
    current = Current(lake)
    ids = [
        model_id
        for rows in current.scan(["model_id"], f"({own}) AND {state}")
        for model_id in rows["model_id"].to_pylist()
    ]
    return list(current.records(sorted(ids)).values())


def _none(lake: Lake, name: str, *, again: bool) -> str:
    if again:
        return f"nothing of {name} was forgotten"
    return f"no model or source {name} in {lake.root}{did_you_mean(lake, name)}"
