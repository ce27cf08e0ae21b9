"""The networks with something wrong with them, and those without: trained once, kept in a lake of the study's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.order import EXTRACT, LAYERS, RESPOND, stages_from
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.record import ModelRecord

RECIPE = "suspects"
CLEAN, SHUFFLED, BACKDOORED = "clean", "shuffled labels", "backdoored"
_STAGES: dict[str, Callable[[Lake, str], object]] = {
    EXTRACT: extract_batch,
    LAYERS: layer_batch,
    RESPOND: respond_batch,
}


def suspects(lake: Lake, recipe: str, networks: int | None, progress: Progress | None = None) -> Lake:
    """The study's lake under ``lake``, with the zoo ``recipe`` (its usual size, or so many ``networks``) read and run;
    what is there already is not made again. ``progress`` hears of the training."""
    own = Lake.open(lake.root / "studies" / ("anomaly" if networks is None else f"anomaly-{networks}"))
    source = {"kind": "trained", "recipe": recipe, **({} if networks is None else {"networks": networks})}
    crawl_zoo(own, ZooConfig((source,), own.root), progress)
    for batch, first in stale_batches(own).items():
        for stage in stages_from(first, has_encoder=False):
            _STAGES[stage](own, batch)
    return own


def kinds(records: Sequence[ModelRecord]) -> NDArray[np.str_]:
    """What is wrong with each network, as its record says."""
    return np.array([_kind(record.hyperparameters or {}) for record in records], dtype=str)


def _kind(said: Mapping[str, str]) -> str:
    if "backdoor" in said:
        return BACKDOORED
    return SHUFFLED if said.get("labels") == "shuffled" else CLEAN
