"""The process that is killed: one pass from the crawl to the index."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import lancedb.db
import lancedb.merge
import lancedb.table
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.stages import embed as embeddings
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.order import EMBED, EXTRACT, INDEX, LAYERS, RESPOND, stages_from
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.zoo import ZooConfig, traffic
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import SourceUnavailable

warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)

LONGEST_SLEEP = 0.01
"""Seconds for which the process waits where it would wait longer."""

COMMITS: tuple[tuple[Any, str], ...] = (
    (lancedb.db.LanceDBConnection, "create_table"),
    (lancedb.merge.LanceMergeInsertBuilder, "execute"),
    *((lancedb.table.LanceTable, name) for name in ("delete", "create_index", "optimize")),
)


@dataclass(frozen=True)
class Order:
    """What a process is to do: a pass over a lake, and where it says how it went.

    It dies at step ``killed_at``, counted from the start or within the stages of one kind. ``now`` is the time that the
    crawl takes it to be.
    """

    home: Path
    source: dict[str, Any]
    batch_size: int
    report: Path
    killed_at: int | None = None
    killed_in: str | None = None
    now: datetime | None = None


class Steps:
    """Counts requests, renames and index commits, and kills the process at one of them."""

    def __init__(self, order: Order) -> None:
        self.order, self.stage, self.taken = order, "start", 0
        self.lock = threading.Lock()

    def take(self, kind: str) -> None:
        """One step is about to be done."""
        with self.lock:
            self.taken += self.order.killed_in in (None, self.stage)
            if self.taken == self.order.killed_at:
                self.order.report.write_text(json.dumps({"stage": self.stage, "step": kind}))
                os.kill(os.getpid(), signal.SIGKILL)

    def hook(self, owner: Any, name: str, kind: str) -> None:
        """Make every call of ``owner.name`` a step."""
        called: Callable[..., Any] = getattr(owner, name)

        def stepping(*arguments: Any, **options: Any) -> Any:
            self.take(kind)
            return called(*arguments, **options)

        setattr(owner, name, stepping)


def work(order: Order) -> None:
    """Do as ordered; the report says what was found, or why the Hub could not be crawled to its end."""
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(float(seconds), LONGEST_SLEEP))
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    steps = Steps(order)
    steps.hook(traffic, "count", "request")
    for name in ("replace", "rename"):
        steps.hook(os, name, "rename")
    for owner, name in COMMITS:
        steps.hook(owner, name, "commit")
    lake = Lake.open(order.home)
    config = ZooConfig((order.source,), order.home, order.batch_size)
    found = _crawl(lake, config, steps, order.now)
    processed = _bring_up_to_date(lake, config, steps)
    order.report.write_text(json.dumps(found | {"batches": processed}))


def _crawl(lake: Lake, config: ZooConfig, steps: Steps, now: datetime | None) -> dict[str, Any]:
    steps.stage = "crawl"
    try:
        return asdict(crawl_zoo(lake, config, now=now))
    except SourceUnavailable as error:
        return {"unavailable": str(error)}


def _bring_up_to_date(lake: Lake, config: ZooConfig, steps: Steps) -> list[str]:
    fetcher = Fetcher(config.build(lake))
    stages: dict[str, Callable[[str], object]] = {
        EXTRACT: lambda batch: extract_batch(lake, batch, fetcher),
        LAYERS: lambda batch: layer_batch(lake, batch, fetcher),
        RESPOND: lambda batch: respond_batch(lake, batch, fetcher),
        EMBED: lambda batch: embeddings.embed_batch(lake, batch),
        INDEX: lambda batch: update_index(lake, batch),
    }
    stale = stale_batches(lake)
    for batch, first in stale.items():
        for steps.stage in stages_from(first):
            stages[steps.stage](batch)
    return list(stale)
