"""Search by name: a query is a model in the index, a checkpoint that is embedded for it, or an output of a model."""

from __future__ import annotations

import json
import os.path
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.index.background import Background, background
from peace_pipeline.index.search import (
    By,
    Hit,
    NoResponses,
    OutputHit,
    described,
    indexed_output,
    indexed_vector,
    search,
    search_outputs,
    silent,
)
from peace_pipeline.index.tables import MODELS, connect, served_version, table_names
from peace_pipeline.lake import Lake
from peace_pipeline.responses.standard import CONSTANT
from peace_pipeline.symmetry.wiring.symmetries import SCALE
from peace_pipeline.zoo.card import read_config
from peace_pipeline.zoo.current import Current, newest_batch, newest_record
from peace_pipeline.zoo.folders import folder_and_name, is_place
from peace_pipeline.zoo.names import did_you_mean_model_or_path, meant
from peace_pipeline.zoo.source import AUTO

if TYPE_CHECKING:
    from peace_pipeline.zoo.fetching import Fetcher


_CHAIN = "chain"


class UnknownQuery(Exception):
    """A query that is neither in the index nor a checkpoint that can be embedded."""


def find(
    lake: Lake,
    query: str | None,
    fetcher: Fetcher | None = None,
    *,
    by: By = "both",
    k: int = 10,
    where: str | None = None,
    text: str | None = None,
    budget: int | None = None,
    responses: str = AUTO,
) -> list[Hit]:
    """The ``k`` models nearest to ``query`` (a model id in the index, itself left out, or a network, named as
    :func:`peace_pipeline.symmetry.opening.open_network` takes it) and ``text``, compared as ``by`` says.

    Of the weights of one that is not in the index at most ``budget`` bytes are read, and it is run as ``responses``
    says.

    Raises:
        NoIndex: where there is no index.
        NoEncoder: where ``query`` has to be embedded and there is no encoder.
        UnknownQuery: where ``query`` is neither.
        NoResponses: where it has no answers and is compared by them.
        BadFilter: where ``where`` can't be run.
    """
    if query is None:
        return _told(lake, search(lake, k=k, where=where, text=text))
    asked = ask(lake, query, fetcher, by=by, budget=budget, responses=responses)
    found = search(lake, asked.vector, by=by, k=k, where=where, text=text, without=asked.model_id)
    hits = _told(lake, found, background(lake, by))
    if by != "both":
        return hits
    without_answers = silent(lake, [asked.name, *(hit.model_id for hit in hits)])
    was_run = asked.name not in without_answers if asked.was_run is None else asked.was_run
    return [replace(hit, same_senses=(hit.model_id not in without_answers) == was_run) for hit in hits]


def of_models(lake: Lake, model_ids: list[str]) -> dict[str, Hit]:
    """What is known of models of the index by their ids, with where their files lie.

    Raises:
        NoIndex: where there is no index.
    """
    hits = _told(lake, list(described(lake, model_ids).values()))
    return {hit.model_id: hit for hit in hits}


@dataclass(frozen=True)
class Asked:
    """A network that others are compared with: its ``vector`` (dimension,), its ``model_id`` where it is in the index,
    else whether it ``was_run``."""

    name: str
    vector: np.ndarray
    model_id: str | None
    was_run: bool | None = None


def ask(
    lake: Lake,
    query: str,
    fetcher: Fetcher | None = None,
    *,
    by: By = "both",
    budget: int | None = None,
    responses: str = AUTO,
) -> Asked:
    """The vector of a network, named as :func:`find` takes it: from the index, else embedded.

    Raises:
        NoIndex, NoEncoder, UnknownQuery, NoResponses: as :func:`find`.
    """
    name = query if is_place(query) else meant(query)
    if (vector := indexed_vector(lake, name, by)) is not None:
        return Asked(name, vector, name)
    vector, was_run = _embedded(lake, name, fetcher, budget, responses, by)
    return Asked(name, vector, None, was_run)


def _told(lake: Lake, hits: list[Hit], usual: Background | None = None) -> list[Hit]:
    """Answers with where their files lie, and how usual their similarities are."""
    current = Current(lake, fold=False)
    rows = current.rows([hit.model_id for hit in hits], ["model_id", "uri"]).to_pylist()
    uris = {row["model_id"]: row["uri"] for row in rows}
    return [
        replace(
            hit,
            uri=uris.get(hit.model_id),
            as_similar=usual.share(hit.similarity) if usual and hit.similarity is not None else None,
        )
        for hit in hits
    ]


def has_unknown_activation(lake: Lake, query: str) -> bool:
    """Whether a model of the lake, or a network on this machine without a config.json, is a chain of hidden units of
    which nothing says that they are ReLU's: copies that differ in their scale are then not near to it."""
    name = query if is_place(query) else meant(query)
    if batch := newest_batch(lake, name):
        return _has_unknown_scale(lake, batch, name)
    return is_place(query) and _is_bare_chain(lake, query)


def _is_bare_chain(lake: Lake, name: str) -> bool:
    """The same of a network on this machine."""
    from peace_pipeline.symmetry.opening import open_network
    from peace_pipeline.weights.errors import UnreadableCheckpoint

    place = Path(os.path.expanduser(name))
    folder, _ = folder_and_name(str(place)) or (place if place.is_dir() else place.parent, "")
    if read_config(folder):
        return False
    try:
        with open_network(lake, name) as network:
            wiring = network.common  # what its vector is made of
    except UnreadableCheckpoint:
        return False
    is_open = wiring.method == _CHAIN and bool(wiring.assumes)
    return is_open and not any(SCALE in group.actions for group in wiring.groups.values())


def _has_unknown_scale(lake: Lake, batch: str, model_id: str) -> bool:
    """Whether the stored wiring of a model is a chain that assumes something, and has no group of units that may be on
    any scale. Tables of an earlier version don't say what is assumed."""
    path = lake.wirings(batch)
    if not path.exists() or "assumes" not in pq.read_schema(path).names:
        return False
    own = pc.field("model_id") == model_id
    method, assumes = pq.read_table(path, columns=["method", "assumes"], filters=own).to_pydict().values()
    if method != [_CHAIN] or not assumes[0]:
        return False
    (wiring,) = pq.read_table(path, columns=["wiring"], filters=own)["wiring"].to_pylist()
    return not any(SCALE in group["actions"] for group in json.loads(wiring)["groups"].values())


def find_outputs(
    lake: Lake,
    output: str | None = None,
    *,
    label: str | None = None,
    k: int = 10,
    where: str | None = None,
) -> list[OutputHit]:
    """The ``k`` outputs of other networks nearest to ``output`` (``MODEL:LABEL``, a label or a place of a model in the
    index), those whose label has the words ``label``, or both fused.

    Raises:
        NoIndex: where there is no index.
        UnknownOutput: where ``output`` is not in it.
        BadFilter: where ``where`` can't be run.
    """
    if output is None:
        return search_outputs(lake, k=k, where=where, label=label)
    model_id, vector = indexed_output(lake, meant(output))
    return search_outputs(lake, vector, k=k, where=where, label=label, without=model_id)


def _embedded(
    lake: Lake, name: str, fetcher: Fetcher | None, budget: int | None, responses: str, by: By
) -> tuple[np.ndarray, bool]:
    """Its vector by the encoder that the index serves, which after a retraining is not yet the current one, and whether
    it has answers."""
    if not (name.startswith("hf://") or is_place(name) or newest_record(lake, name)):
        hint = did_you_mean_model_or_path(lake, name) or "; --text searches for words"
        raise UnknownQuery(f"{name} is not in the index, and as a path: no such file or folder{hint}")
    from peace_pipeline.encoder.checkpoints import embed_checkpoints

    version = served_version(lake)
    embedded, *others = embed_checkpoints(
        lake, [name], fetcher, version=version, budget=budget, responses=responses
    )
    if others:
        named = next((one.path for one in (embedded, *others) if one.embedding), embedded.path)
        raise UnknownQuery(f"{name} has {1 + len(others)} networks, to be named one by one, as {named}")
    if (found := embedded.embedding) is None:
        raise UnknownQuery(f"{name} is not in the index, and as a path: {embedded.error}")
    vector = {"both": found.network, "weights": found.weights, "responses": found.responses}[by]
    if vector is None or not vector.any():
        raise NoResponses(name, embedded.not_run or CONSTANT)
    return vector.astype(np.float32), found.responses is not None and bool(found.responses.any())


def example(lake: Lake) -> str | None:
    """A model in the index to try a query with: a trained network where there is one."""
    if not lake.index.exists() or MODELS.name not in table_names(database := connect(lake)):
        return None
    models = database.open_table(MODELS.name)
    for condition in ("source = 'trained'", "true"):
        if rows := models.search().where(condition).select(["model_id"]).limit(1).to_list():
            return rows[0]["model_id"]
    return None
