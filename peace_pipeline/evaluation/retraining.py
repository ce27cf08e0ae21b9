"""Encoders that a study trains on the lake's own training runs, each once, and how well they find the task of networks
of test runs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from peace_pipeline.encoder import store
from peace_pipeline.encoder.members import training_members, validation_members
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.settings import NAMELESS, PairSettings, Settings
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE, Embedder
from peace_pipeline.evaluation.metrics import retrieve
from peace_pipeline.evaluation.population import Listed, Member, cohorts, is_embedded, read_listed
from peace_pipeline.evaluation.readings import read
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retrieval.grades import relevance
from peace_pipeline.lake import Lake
from peace_pipeline.lake.locks import alone
from peace_pipeline.progress import Progress
from peace_pipeline.stages.pairs import write_pairs
from peace_pipeline.stages.train import NoPairs, TooFewNetworks, train
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.threads import cores
from peace_pipeline.workers import side_by_side
from peace_pipeline.zoo.listing import TEST, Listing, sample_listings

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float64]
RESPONSES_ALONE = "peace_responses"
"""What PEACE makes of answers where it hears nothing of weights."""
TABLES = ("zoo", "current.lance", "inventory", "layers", "wirings", "responses")
"""Of a lake, what a training in another lake reads."""
TOGETHER = 2
"""Trainings at a time, at most: each takes up to 3 GB of memory, and a second core for what makes its batches."""
_LARGEST = 1_000_000


@dataclass(frozen=True)
class Size:
    """Epochs of each training, seeds of each recipe, most networks that they are judged by."""

    epochs: int = 6
    seeds: int = 3
    networks: int = 400


DEFAULT = Size()


@dataclass(frozen=True)
class Recipe:
    """How an encoder is trained."""

    settings: Settings
    pairs: PairSettings

    @classmethod
    def of(
        cls,
        epochs: int,
        settings: Mapping[str, object] | None = None,
        pairs: Mapping[str, object] | None = None,
    ) -> Recipe:
        """All of so many epochs, on networks whose cards name a task, but for what is said."""
        trained = {"epochs": epochs, "patience": epochs, **(settings or {})}
        return cls(
            Settings.model_validate(trained),
            PairSettings.model_validate({"without": [NAMELESS], **(pairs or {})}),
        )

    def seeded(self, seed: int) -> Recipe:
        """The same with other random draws."""
        return Recipe(
            self.settings.model_copy(update={"seed": seed}), self.pairs.model_copy(update={"seed": seed})
        )


@dataclass(frozen=True)
class Trainings:
    """Encoders by recipe, in lakes of their own, whose tables are links to those of ``lake``. What was trained by a
    recipe on other networks than the lake has now is deleted when the recipe is asked for."""

    lake: Lake

    @property
    def folder(self) -> Path:
        """Where they lie: what one study trained serves another."""
        return self.lake.root / "studies" / "encoders"

    def encoders(
        self, recipes: Mapping[Key, Recipe], progress: Progress | None = None
    ) -> Iterator[tuple[Key, Encoder]]:
        """The encoders of different recipes as they are ready, those first that lie there; the others are trained, some
        in processes of their own: a script that comes here needs the usual ``if __name__ == "__main__"``.

        Raises:
            NothingToReport: where the lake lacks what it takes to train.
            WorkerDied: where such a process was killed.
        """
        if progress:
            progress(0, len(recipes))
        owns = {key: self._own(recipe) for key, recipe in recipes.items()}
        missing = [key for key in recipes if store.own_version(owns[key]) is None]
        for key in recipes:
            if key not in missing:
                yield key, store.load(owns[key])[1]
        pieces = [(self.lake, owns[key], recipes[key]) for key in missing]
        # to begin a process takes as long as a short training
        processes = 1 if torch.cuda.is_available() else min(cores(), TOGETHER, len(missing) // 2)
        if processes > 1:
            with closing(side_by_side(processes, _train, pieces)) as trained:
                for place, _ in trained:
                    yield missing[place], store.load(owns[missing[place]])[1]
        else:
            for key, piece in zip(missing, pieces, strict=True):
                _train(*piece, progress)
                yield key, store.load(owns[key])[1]

    def _own(self, recipe: Recipe) -> Lake:
        """The lake of a recipe's encoder."""
        how = _digest([store.FORMAT, recipe.settings.model_dump(), recipe.pairs.model_dump()])
        members = training_members(self.lake, recipe.pairs)
        members += validation_members(self.lake, recipe.pairs, recipe.settings.validation)
        found = self.folder / f"{how}-{_digest([(each.model_id, each.revision) for each in members])}"
        for other in self.folder.glob(f"{how}-*"):
            if other != found:
                shutil.rmtree(other)
        return Lake.at(found)


def _train(lake: Lake, own: Lake, recipe: Recipe, progress: Progress | None = None) -> None:
    """Train the encoder of a recipe in a lake of its own, but where another process did just that.

    Raises:
        NothingToReport: where the lake lacks what it takes to train.
    """
    own.root.mkdir(parents=True, exist_ok=True)
    with alone(own.root / ".study.lock", "study", progress):
        if store.own_version(own) is not None:
            return
        for name in TABLES:
            link = own.root / name
            if not link.is_symlink() and (lake.root / name).exists():
                link.symlink_to((lake.root / name).absolute())
        try:
            write_pairs(own, recipe.pairs)
            train(own, recipe.settings)
        except (TooFewNetworks, NoPairs) as reason:
            raise NothingToReport(str(reason)) from reason


def _digest(cause: object) -> str:
    return hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Found:
    """Average precision of each query that has something to find, and which of the members these are."""

    precision: Floats
    queries: NDArray[np.int64]

    def among(self, kept: NDArray[np.bool_]) -> Found:
        """The queries that are ``kept`` (members)."""
        rows = kept[self.queries]
        return Found(self.precision[rows], self.queries[rows])


def over_seeds(found: Sequence[Found], resampling: Resampling) -> Resampled:
    """Mean average precision over queries, and over seeds, each of which may have queries of its own; ``resampling`` is
    of all networks that are judged by."""
    mean = _over_seeds(found, resampling)
    return Resampled(mean.value, mean.draws.clip(0, 1))


def gained(found: Sequence[Found], other: Sequence[Found], resampling: Resampling) -> Resampled:
    """The same of what encoders find beyond what the ``other`` way to read each of them finds for the same queries."""
    beyond = [Found(a.precision - b.precision, a.queries) for a, b in zip(found, other, strict=True)]
    return _over_seeds(beyond, resampling)


def _over_seeds(found: Sequence[Found], resampling: Resampling) -> Resampled:
    """The mean over queries and seeds.

    Draws of the runs are moved by what so few seeds leave open of their mean: Student's t with one degree of freedom
    less than seeds, times its standard error, drawn for each figure apart. One seed tells nothing of that.
    """
    found = [one for one in found if len(one.queries)] or found[:1]
    each = [_over_queries(one, resampling) for one in found]
    values, draws = np.array([one.value for one in each]), np.mean([one.draws for one in each], axis=0)
    if len(each) > 1:
        random = np.random.default_rng(crc32(np.concatenate([one.precision for one in found]).tobytes()))
        error = values.std(ddof=1) / np.sqrt(len(each))
        draws = draws + error * random.standard_t(len(each) - 1, draws.shape)
    return Resampled(float(values.mean()), draws)


def _over_queries(found: Found, resampling: Resampling) -> Resampled:
    kept = np.zeros(resampling.counts.shape[1], dtype=bool)
    kept[found.queries] = True
    return resampling.of_networks(kept).mean(found.precision)


def is_small(lake: Lake, version: str) -> str:
    """SQL over the fields of a listing: whether encoders may be judged by a network, of at most a million weights."""
    return f"parameters <= {_LARGEST} AND {is_embedded(lake, version)}"


@dataclass(frozen=True)
class Judge:
    """The networks of test runs that encoders are judged by, in memory: at most so many as were asked for."""

    networks: Sequence[Listed]
    seed: int

    @classmethod
    def of(cls, lake: Lake, most: int, seed: int) -> Judge:
        """Of networks with a task and at most a million weights that the current encoder could embed, drawn at random.

        Raises:
            NoEncoder: where the lake has no encoder.
            NothingToReport: where no two test runs share a task.
        """
        version, _ = store.load(lake)
        where = f"task IS NOT NULL AND split = '{TEST}' AND {is_small(lake, version)}"
        listed = sample_listings(lake, most, seed=seed, where=where)
        relevant, excluded = relevance(listed, listed)
        if not (relevant & ~excluded).any():
            raise NothingToReport("no two training runs of the test split share a task")
        return cls(list(read_listed(lake, listed)), seed)

    @property
    def listings(self) -> list[Listing]:
        """Of the networks, in the order of all results."""
        return [each.listing for each in self.networks]

    @property
    def members(self) -> list[Member]:
        """What is known of the networks besides their tensors."""
        return [Member(each.listing, each.network.wiring) for each in self.networks]

    @property
    def architectures(self) -> NDArray[np.str_]:
        """Of the networks."""
        return np.array([each.architecture for each in self.members], dtype=str)

    @property
    def stacks(self) -> list[Stack]:
        """The networks by signature."""
        return [cohort.stack for cohort in cohorts(self.networks)]

    def likeness(self, encoder: Encoder) -> dict[str, Floats]:
        """Cosine (networks, networks) by all that an encoder hears, and by each sense alone that it has."""
        embedder, by_answers = Embedder(encoder), copy(encoder)
        by_answers.config = replace(encoder.config, weights=False)
        found = embedder.parted(read(self.networks, {PEACE: embedder}))
        if encoder.config.responses:
            alone = Embedder(by_answers)
            found[RESPONSES_ALONE] = alone.parted(read(self.networks, {PEACE: alone}))[PEACE]
        if not encoder.config.weights:
            del found[WEIGHTS_ALONE]
        return {name: readings.matrix @ readings.matrix.T for name, readings in found.items()}

    def baseline(self, name: str) -> Floats:
        """Similarity (networks, networks) by a registered baseline that learns nothing."""
        method = all_baselines()[name]
        found = read(self.networks, {name: method.reads})[name]
        return method.similarity(found, found, found.select([]))

    def found(self, similarity: Floats, *, elsewhere: bool = False) -> Found:
        """How well networks (rows) find those of their task in other runs (columns), ``elsewhere`` those of other
        architectures alone. Networks trained on shuffled labels are found by nobody and ask nothing."""
        relevant, excluded = relevance(self.listings, self.listings)
        if elsewhere:
            named = self.architectures
            excluded = excluded | (named[:, None] == named)
        scores = retrieve(similarity, relevant, excluded, seed=self.seed)
        return Found(scores.values["map"], scores.queries)
