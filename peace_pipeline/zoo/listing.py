"""Listings: what the lake says of the networks that can be embedded, without their weights."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.zoo.current import SCHEMA, Current

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Listing:
    """A current model whose layers are in the lake, with what pairs and reports need of its record.

    ``run`` names the training run (models that don't say are a run of their own, those of one
    Hub repository one together), ``twin_of`` the run of which it is
    a hard-negative twin; ``task`` joins the card's task and datasets; ``recipe`` is ``None`` where the card names
    none; ``declared_split`` the side of the split that the record itself claims, as networks of a zoo do whose whole
    kinds of data are kept apart; ``card`` is its text, empty where it wasn't asked for.
    """

    model_id: str
    revision: str
    batch: str
    source: str
    architecture: str | None
    task: str | None
    recipe: str | None
    run: str
    shuffled_labels: bool
    accuracy: float | None
    method: str
    parameters: int
    twin_of: str | None = None
    declared_split: str | None = None
    card: str = ""

    @property
    def split(self) -> str:
        """The side that the record claims, else that of the 60/15/25 split by training run.

        Twins, which begin alike, are on one side.
        """
        return self.declared_split or split_of(self.twin_of or self.run)


_TRAIN_SHARE, _VALIDATION_SHARE = 0.60, 0.15
_COLUMNS = [
    "model_id", "revision", "batch", "source", "architecture", "task", "datasets", "hyperparameters", "metrics"
]  # fmt: skip
_LISTINGS = f"""
    WITH wired AS (
        SELECT model_id, status, method, parameters, parse_filename(filename, true) AS batch
        FROM read_parquet($wirings, filename = true)
    ), listed AS (
        SELECT model_id, newest.revision, batch, source, architecture,
               CASE WHEN len(datasets) > 0
                    THEN concat_ws(' · ', task, array_to_string(list_sort(datasets), ', ')) END AS task,
               hyperparameters['recipe'] AS recipe,
               coalesce(
                   source || ':' || hyperparameters['run'],
                   CASE WHEN source = 'huggingface' THEN split_part(model_id, '#', 1) ELSE model_id END
               ) AS run,
               source || ':' || hyperparameters['twin_of'] AS twin_of,
               CASE WHEN hyperparameters['split'] IN ('{TRAIN}', '{VALIDATION}', '{TEST}')
                    THEN hyperparameters['split'] END AS declared_split,
               coalesce(hyperparameters['labels'] = 'shuffled', false) AS shuffled_labels,
               metrics['accuracy'] AS accuracy, wired.method, wired.parameters
        FROM newest JOIN wired USING (model_id, batch)
        WHERE wired.status = 'new'
    ), placed AS (
        SELECT *, ('0x' || left(sha256(coalesce(twin_of, run)), 16))::UBIGINT / 2.0::DOUBLE ** 64 AS share FROM listed
    ), split AS (
        SELECT * EXCLUDE (share),
               CASE WHEN declared_split IS NOT NULL THEN declared_split
                    WHEN share < {_TRAIN_SHARE} THEN '{TRAIN}'
                    WHEN share < {_TRAIN_SHARE + _VALIDATION_SHARE} THEN '{VALIDATION}' ELSE '{TEST}' END AS split
        FROM placed
    )
"""


def listings(lake: Lake) -> list[Listing]:
    """All current networks whose layers are in the lake, by model id, without their cards."""
    found = _query(lake, "SELECT * EXCLUDE (split) FROM split ORDER BY model_id")
    return [Listing(**row) for row in found]


def count_listings(lake: Lake, where: str = "true") -> int:
    """How many current networks have their layers in the lake; ``where`` as in :func:`sample_listings`."""
    counted = _query(lake, f"SELECT count(*) AS networks FROM split WHERE {where}")
    return next((row["networks"] for row in counted), 0)


def sample_listings(
    lake: Lake,
    most: int,
    *,
    seed: int,
    where: str = "true",
    each: str = "true",
    first: str = "true",
    together: str = "model_id",
    card_size: int = 0,
) -> list[Listing]:
    """At most so many networks at random, by model id; the same ``seed`` gives the same of the same lake.

    The rest are SQL over the fields of a listing and ``split``: ``where`` says which networks there are to draw from,
    ``each`` of what there are so many at most, ``first`` which networks are drawn before others (where it is false),
    ``together`` what is drawn whole as far as there is room. Cards are cut after ``card_size`` characters.
    """
    found = _query(
        lake,
        f"""
        SELECT * EXCLUDE (split) FROM split WHERE {where}
        QUALIFY row_number() OVER (
            PARTITION BY {each} ORDER BY {first}, sha256($seed || '/' || {together}), model_id
        ) <= $most
        ORDER BY model_id
        """,
        seed=str(seed),
        most=most,
    )
    cards = _cards(lake, [row["model_id"] for row in found], card_size) if card_size else {}
    return [Listing(**row, card=cards.get(row["model_id"], "")) for row in found]


def is_of_tasks(most: int, *, seed: int, where: str) -> str:
    """SQL over the fields of a listing: whether a network's task is one of at most so many, drawn at random from those
    of the networks ``where`` this holds; the fewer are among the more of one ``seed``."""
    return (
        f"task IN (SELECT task FROM split WHERE task IS NOT NULL AND {where} GROUP BY task "
        f"ORDER BY sha256('{seed}/' || task) LIMIT {most})"
    )


def is_of_no_task_of(where: str) -> str:
    """SQL over the fields of a listing: whether a network's task is that of no network ``where`` this holds; without a
    task it is not."""
    return f"task IS NOT NULL AND task NOT IN (SELECT task FROM split WHERE task IS NOT NULL AND {where})"


def is_within(widest: int | None, deepest: int | None) -> str:
    """SQL over the fields of a listing: whether no group of a network that can be permuted has more than so many
    neurons, and the network not more than so many layers."""
    width = (
        "coalesce(list_max(list_transform(json_extract(wiring, '$.groups.*'), "
        "lambda g: CASE WHEN g->>'$.kind' = 'permutable' THEN (g->>'$.size')::BIGINT ELSE 0 END)), 0)"
    )
    limits = {width: widest, "json_array_length(wiring, '$.layers')": deepest}
    beyond = [f"{size} > {limit}" for size, limit in limits.items() if limit is not None]
    if not beyond:
        return "true"
    of = "SELECT (model_id, parse_filename(filename, true)) FROM read_parquet($wirings, filename = true)"
    return f"(model_id, batch) NOT IN ({of} WHERE status = 'new' AND ({' OR '.join(beyond)}))"


def by_batch(members: Iterable[Listing]) -> dict[str, dict[str, Listing]]:
    """Networks by batch, in the order of the batches' names, and by model id in the order given."""
    batches: dict[str, dict[str, Listing]] = defaultdict(dict)
    for one in members:
        batches[one.batch][one.model_id] = one
    return dict(sorted(batches.items()))


def _query(lake: Lake, sql: str, **parameters: object) -> list[dict[str, Any]]:
    """Rows that SQL over the listings gives; their state is read as a stream, not as a whole."""
    if not any((lake.root / "wirings").glob("[!.]*.parquet")):
        return []
    schema = pa.schema([SCHEMA.field(name) for name in _COLUMNS])
    newest = pa.RecordBatchReader.from_batches(schema, Current(lake).scan(_COLUMNS, "status = 'new'"))
    return query(_LISTINGS + sql, {"newest": newest}, wirings=lake.wirings("[!.]*"), **parameters).to_pylist()


def _cards(lake: Lake, model_ids: list[str], most: int) -> dict[str, str]:
    """The beginning of each model's card."""
    rows = Current(lake).rows(model_ids, ["model_id", "card"]).to_pylist()
    return {row["model_id"]: (row["card"] or "")[:most] for row in rows}


def split_of(run: str) -> str:
    """60% of runs train, 15% validate, 25% test, by a hash of the run's name."""
    share = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8]) / 2**64
    return TRAIN if share < _TRAIN_SHARE else VALIDATION if share < _TRAIN_SHARE + _VALIDATION_SHARE else TEST
