"""The networks that the peers are compared on: all of a lake that have a task, by place."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from peace_pipeline.encoder.pair_rule import Attributes
from peace_pipeline.encoder.store import current_version
from peace_pipeline.evaluation.baselines.classifiers import moments
from peace_pipeline.evaluation.baselines.registry import Knows, all_baselines
from peace_pipeline.evaluation.population import cohorts, read_listed
from peace_pipeline.evaluation.readings import Reader, Readings, read
from peace_pipeline.lake import Lake
from peace_pipeline.responses.table import read_responses
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, VALIDATION, Listing, by_batch, listings
from peace_pipeline.zoo.record import ModelRecord

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]
SPLITS = (TRAIN, VALIDATION, TEST)
SENSES = {"vector": "PEACE", "weights": "PEACE, weights alone", "responses": "PEACE, responses' sketch"}
"""Column of the embeddings' table → what its vectors are called."""


@dataclass(frozen=True)
class Zoo:
    """Networks with a task (``members``, by model id) of a lake with the embeddings of an encoder ``version``."""

    lake: Lake
    version: str
    members: list[Listing]
    records: dict[str, ModelRecord]

    @classmethod
    def of(cls, lake: Lake, version: str | None = None, splits: Sequence[str] = SPLITS) -> Zoo:
        """The zoo of a lake (its runs of these ``splits``), as its current encoder (or that of ``version``) embedded
        it."""
        version = version or current_version(lake) or "none"
        members = [one for one in listings(lake) if one.task and one.split in splits]
        return cls(lake, version, members, Current(lake).records([one.model_id for one in members]))

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def attributes(self) -> Attributes:
        """What the rule of pairs looks at."""
        return Attributes.of(self.members)

    @cached_property
    def tasks(self) -> NDArray[np.str_]:
        """The data set of each network's task."""
        return np.array([(one.task or "").rpartition(" · ")[2] for one in self.members])

    @cached_property
    def architectures(self) -> NDArray[np.str_]:
        """The architecture of each network, by its config's name."""
        return np.array([one.architecture or one.method for one in self.members])

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The split of each network's training run."""
        return np.array([one.split for one in self.members])

    @cached_property
    def final(self) -> Mask:
        """Which networks are no early checkpoints."""
        return np.array([self.setting(one, "early") != "True" for one in self.members])

    @cached_property
    def clean(self) -> Mask:
        """Which are final, on all of the data with true labels, and nobody's twin."""
        whole = [float(self.setting(one, "data_fraction") or 1) == 1 for one in self.members]
        plain = [not one.shuffled_labels and one.twin_of is None for one in self.members]
        return self.final & np.array(whole) & np.array(plain)

    @cached_property
    def twins(self) -> NDArray[np.str_]:
        """What kind of hard-negative twin each is; empty where it is none."""
        return np.array([self._twin(one) for one in self.members])

    def _twin(self, one: Listing) -> str:
        if one.twin_of is None:
            return ""
        kinds = [kind for kind in ("backdoor", "adversarial") if self.setting(one, kind)]
        return kinds[0] if kinds else "shuffled"

    def setting(self, one: Listing, name: str) -> str | None:
        """What a network's card says of how it was trained."""
        return self.records[one.model_id].hyperparameters.get(name)

    def folder(self, place: int) -> Path:
        """Where a network's files lie."""
        return Path(unquote(urlparse(self.records[self.members[place].model_id].uri).path))

    @cached_property
    def readings(self) -> dict[str, Readings]:
        """What each baseline of the product, and each peer, that reads weights reads of every network."""
        readers: dict[str, Reader | None] = {
            name: one.reads for name, one in all_baselines().items() if one.knows == Knows.WEIGHTS
        }
        readers["moments"] = moments
        found = read(read_listed(self.lake, self.members), readers)
        order = {one.model_id: place for place, one in enumerate(self.members)}
        first = next(iter(found.values()))
        places = np.argsort([order[member.listing.model_id] for member in first.members])
        return {name: readings.select(places) for name, readings in found.items()}

    @cached_property
    def signatures(self) -> dict[str, Places]:
        """Signature → the places of its networks."""
        found = self.readings["chance"].by_signature()
        return {signature: np.array(places) for signature, places in found.items()}

    @cached_property
    def real(self) -> Mask:
        """Which were trained on true labels."""
        return np.array([not one.shuffled_labels for one in self.members])

    def relevance(self, queries: Places, gallery: Places) -> tuple[Mask, Mask]:
        """Which pairs truly are of one task, and which are of different runs: (queries, gallery)."""
        real = self.real[queries][:, None] & self.real[gallery]
        run = self.attributes.run
        same_task = self.tasks[queries][:, None] == self.tasks[gallery]
        return same_task & real, run[queries][:, None] != run[gallery]

    def cells(self, places: Places) -> dict[tuple[str, str], Places]:
        """Architecture and task → those of the ``places`` that are of both."""
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place in places:
            found[str(self.architectures[place]), str(self.tasks[place])].append(int(place))
        return {cell: np.array(members) for cell, members in sorted(found.items())}

    def stacks(self, largest: int) -> list[tuple[Places, Stack]]:
        """The places and folded tensors of the networks of each signature, those of at most ``largest`` values."""
        small = [one for one in self.members if one.parameters <= largest]
        order = {one.model_id: place for place, one in enumerate(self.members)}
        found = cohorts(read_listed(self.lake, small))
        return [(np.array([order[key] for key in one.stack.keys]), one.stack) for one in found]

    @cached_property
    def configs(self) -> list[tuple[dict[str, Any], Places]]:
        """Each config.json that networks have, and the places of those that have it."""
        alike: dict[str, list[int]] = defaultdict(list)
        for place in range(len(self)):
            path = self.folder(place) / "config.json"
            if path.exists():
                alike[path.read_text()].append(place)
        return [(json.loads(text), np.array(places)) for text, places in alike.items()]

    @cached_property
    def senses(self) -> dict[str, NDArray[np.float32]]:
        """PEACE's vectors (networks, dimension) by column of the embeddings' table; NaN where there is none."""
        found: dict[str, dict[str, NDArray[np.float32]]] = defaultdict(dict)
        for batch in by_batch(self.members):
            path = self.lake.embeddings("network", self.version, batch)
            table = pq.read_table(path).to_pydict() if path.exists() else {}
            for column in SENSES.keys() & table.keys():
                found[column] |= {
                    key: np.asarray(vector, np.float32)
                    for key, vector in zip(table["model_id"], table[column], strict=True)
                    if vector is not None
                }
        return {column: self._matrix(found[column]) for column in SENSES if found[column]}

    def _matrix(self, rows: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        matrix = np.full((len(self), len(next(iter(rows.values())))), np.nan, np.float32)
        for place, one in enumerate(self.members):
            if one.model_id in rows:
                matrix[place] = rows[one.model_id]
        return matrix

    @cached_property
    def responses(self) -> dict[int, tuple[str, NDArray[np.float32]]]:
        """Place → kind of input and logits (probes, outputs), of the networks that could be run."""
        order = {one.model_id: place for place, one in enumerate(self.members)}
        return {
            order[key]: (response.kind, response.outputs)
            for batch, wanted in by_batch(self.members).items()
            for key, response in read_responses(self.lake, batch, wanted).items()
        }
