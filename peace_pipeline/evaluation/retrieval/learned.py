"""Which tasks an encoder learned from, as its card tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder.members import training_members, validation_members
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.encoder.store import packaged_version, training_of
from peace_pipeline.lake import Lake
from peace_pipeline.stages.train import SCRATCH
from peace_pipeline.zoo.listing import TEST, Listing
from peace_pipeline.zoo.trained.sources import split_of


@dataclass(frozen=True)
class Learned:
    """The ``tasks`` of the lake that an encoder learned from or was chosen on, whether the ``made_up`` ones of the
    shipped encoder are among what it learned, and what its card says, in ``words``."""

    tasks: frozenset[str]
    made_up: bool
    words: str

    def of(self, networks: Sequence[Listing]) -> NDArray[np.bool_]:
        """Whether the task of each network is one of these."""
        return np.array([self._has(network) for network in networks], dtype=bool)

    def _has(self, network: Listing) -> bool:
        task = network.task or ""
        data_set = task.rpartition(" · ")[2].rpartition("-")[
            0
        ]  # a made-up task is named KIND-NUMBER-VARIATION
        made_up = self.made_up and split_of(data_set) != TEST
        return made_up or task in self.tasks


def learned_tasks(lake: Lake, version: str) -> Learned:
    """What an encoder learned from: the shipped one from made-up tasks, one of the lake's own from the tasks of the
    lake's training and validation runs, as far as they are still there."""
    training = training_of(lake, version)
    shipped = version == packaged_version()
    drawn = PairSettings(**training.get("pairs", {}))
    own = (
        [] if shipped else [*training_members(lake, drawn), *validation_members(lake, drawn, drawn.networks)]
    )
    words = f"{training.get('networks', '?')} networks of {training.get('tasks', '?')} tasks"
    return Learned(
        frozenset(network.task for network in own if network.task),
        made_up=shipped or training.get("start", SCRATCH) != SCRATCH,
        words=f"{words} (`{training['command']}`)" if "command" in training else words,
    )
