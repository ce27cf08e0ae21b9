"""What the lake knows of where networks come from: bases, training runs, and equal contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.current import Current

_COLUMNS = ["model_id", "base_model", "base_model_relation", "hyperparameters"]


class Derived(NamedTuple):
    """Network ``place`` comes from ``base``, a model id or the name that the card gives; ``relation`` says how."""

    place: int
    base: str
    relation: str


class Lineage(NamedTuple):
    """``derived`` networks; ``runs`` and ``contents`` (networks,) number groups of one training run, and of equal
    tensors, from 1: 0 is a network that is alone. Only networks of one owner or folder share a run."""

    derived: list[Derived]
    runs: NDArray[np.uint32]
    contents: NDArray[np.uint32]


def read_lineage(lake: Lake, model_ids: Sequence[str], contents: Sequence[str | None]) -> Lineage:
    """Of these networks, whose tensors have the hashes ``contents``. The state of the zoo is read as a stream."""
    places = {name: place for place, name in enumerate(model_ids)}
    derived: list[Derived] = []
    runs: list[str | None] = [None] * len(model_ids)
    for batch in Current(lake, fold=False).scan(_COLUMNS, "status = 'new'"):
        for row in _described(batch):
            place = places.get(row["model_id"])
            if place is None:
                continue
            hyperparameters = dict(row["hyperparameters"] or ())
            if run := hyperparameters.get("run"):
                runs[place] = f"{row['model_id'].rpartition('/')[0]}:{run}"
            if row["base_model"]:
                relation = row["base_model_relation"] or "derived"
                derived.append(
                    Derived(place, _known_as(row["base_model"], row["model_id"], places), relation)
                )
            if twin := hyperparameters.get("twin_of"):
                derived.append(Derived(place, _known_as(twin, row["model_id"], places), "twin"))
    return Lineage(sorted(derived), grouped(runs), grouped(contents))


def grouped(keys: Sequence[str | None]) -> NDArray[np.uint32]:
    """Numbers from 1 for keys that two or more have, 0 for the rest."""
    codes = pa.array(keys, pa.string()).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    codes = np.where(np.isnan(codes), -1, codes).astype(np.int64)
    counts = np.bincount(codes + 1, minlength=1)
    shared = (counts > 1).astype(np.uint32)
    shared[0] = 0
    numbers = np.cumsum(shared, dtype=np.uint32) * shared
    return numbers[codes + 1]


def _known_as(name: str, model_id: str, places: dict[str, int]) -> str:
    """The model id of a network that a card names, where it is among these: as it is, or in the place of the card's
    own last part."""
    source, _, rest = model_id.partition(":")
    folder = rest.rpartition("/")[0]
    tried = (name, f"{source}:{name}", f"{source}:{folder}/{name}")
    return next((known for known in tried if known in places), name)


def _described(batch: pa.RecordBatch) -> list[dict]:
    """The rows of which there is something to say."""
    return [row for row in batch.to_pylist() if row["base_model"] or row["hyperparameters"]]
