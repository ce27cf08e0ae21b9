"""Networks whose cards name no task, as those of packages: nobody trains on them here, and what comes from one place is
to be found together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE, Embedder
from peace_pipeline.evaluation.metrics import retrieve
from peace_pipeline.evaluation.population import read_listed
from peace_pipeline.evaluation.readings import read
from peace_pipeline.evaluation.retraining import Floats, Found, Judge, is_small
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import sample_listings

STATISTICS, SHAPES, CHANCE = "statistics", "shapes", "chance"
TITLES = {
    WEIGHTS_ALONE: "PEACE, weights alone",
    STATISTICS: "Layer statistics",
    SHAPES: "Shapes alone",
    CHANCE: "Chance",
}


@dataclass(frozen=True)
class Strangers:
    """Networks without a task, and after them others among which they are to be found, as a judge has them.

    ``runs`` are those of all, ``found`` is origin → method → by seed.
    """

    runs: Sequence[str]
    found: Mapping[str, Mapping[str, Sequence[Found]]]
    ran: int
    networks: int


@dataclass(frozen=True)
class Meeting:
    """The strangers among the networks that a judge has, and where each comes from (empty: it is none)."""

    judge: Judge
    origins: np.ndarray

    @classmethod
    def of(cls, lake: Lake, judge: Judge, most: int) -> Meeting:
        """At most so many strangers, of any split: no training of this study knows them."""
        version, _ = store.load(lake)
        listed = sample_listings(
            lake, most, seed=judge.seed, where=f"task IS NULL AND {is_small(lake, version)}"
        )
        strangers = list(read_listed(lake, listed))
        origins = [each.listing.model_id.partition("/")[0] for each in strangers]
        return cls(
            replace(judge, networks=[*strangers, *judge.networks]),
            np.array([*origins, *[""] * len(judge.networks)], dtype=str),
        )

    def of_encoder(self, encoder: Encoder) -> Found:
        """What strangers find by their weights alone: most can't be run."""
        embedder = Embedder(encoder)
        found = embedder.parted(read(self.judge.networks, {PEACE: embedder}))[WEIGHTS_ALONE].matrix
        return self._found(found @ found.T)

    def of_baseline(self, name: str) -> Found:
        """What they find by a registered baseline."""
        return self._found(self.judge.baseline(name))

    def _found(self, similarity: Floats) -> Found:
        """How well strangers (rows) find those of their origin among all networks (columns)."""
        strange = self.origins != ""
        relevant = (self.origins[:, None] == self.origins) & strange[:, None] & strange
        runs = np.array([each.run for each in self.judge.listings])
        scores = retrieve(similarity, relevant, runs[:, None] == runs, seed=self.judge.seed)
        return Found(scores.values["map"], scores.queries)

    def told(self, by_method: Mapping[str, Sequence[Found]]) -> Strangers:
        """What was found, by origin."""
        names = [name for name in np.unique(self.origins) if name]
        responses = [each.response for each in self.judge.networks]
        return Strangers(
            runs=[each.run for each in self.judge.listings],
            found={
                str(name): {
                    method: [each.among(self.origins == name) for each in found]
                    for method, found in by_method.items()
                }
                for name in names
            },
            ran=sum(
                response is not None for response, name in zip(responses, self.origins, strict=True) if name
            ),
            networks=int((self.origins != "").sum()),
        )
