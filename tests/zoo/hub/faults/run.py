"""One seeded run: a Hub with faults, processes that are killed while it changes, and the reckoning."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.lake import Lake
from peace_pipeline.stages.order import BATCH_STAGES
from peace_pipeline.zoo.retries import LONGEST_PAUSE
from tests.standin_hub import StandinHub
from tests.zoo.hub.faults import truth
from tests.zoo.hub.faults.life import UNREADABLE, CountedFaults, Life
from tests.zoo.hub.faults.worker import Order, work

TINY = EncoderConfig(
    width=8, heads=2, rounds=1, token_width=8, transformer_layers=1, attention_heads=2, learned=8
)
MODULES = [
    "duckdb", "huggingface_hub.file_download", "huggingface_hub.hf_api", "lancedb", "peace_pipeline.encoder.embed",
    "peace_pipeline.index.tables", "peace_pipeline.zoo.hub.walk", "tests.zoo.hub.faults.worker",
]  # fmt: skip
LAST_STEP = 60
"""Every first process gets as far as this."""

LONGEST = 120
"""Seconds after which a process counts as hung."""


@dataclass
class Outcome:
    """What happened in a run, and what it broke."""

    faults: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0
    models: int = 0
    indexed: int = 0
    twice_wrong: int = 0
    violations: truth.Violations = field(default_factory=truth.Violations)


def preload() -> Any:
    """A server that forks processes in which what they need is loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


class Run:
    """One run in ``folder`` that begins with ``models`` models at the Hub.

    The seed says what fails (at ``rate``), what changes and where the processes are killed.
    """

    def __init__(self, folder: Path, seed: int, models: int, rate: float = 0.15) -> None:
        self.folder, self.seed, self.models, self.rate = folder, seed, models, rate
        self.random = random.Random(seed)
        self.context = preload()
        self.lake = Lake.open(folder / "home")
        torch.manual_seed(seed)
        store.save(self.lake, Encoder(TINY), {})
        self.outcome = Outcome()
        self.held = truth.Holdings()

    def run(self) -> Outcome:
        """Kill and change, then bring everything up to date in peace and compare."""
        with StandinHub(self.folder / "hub") as hub:
            self.hub, self.life = hub, Life(hub, self.seed)
            self.life.begin(self.models)
            hub.faults = self.faults = CountedFaults(self.seed, self.rate)
            self._attempt(0)
            for _ in range(self.random.randrange(1, 6)):
                self._attempt(self.random.random())
            hub.faults = hub.on_request = None
            self._settle()
        self.outcome.faults, self.outcome.changes = self.faults.struck, self.life.changes
        return self.outcome

    def _attempt(self, chance: float) -> None:
        """One process, mostly killed, while the Hub changes; then a few changes more."""
        self.life.while_asked(self.random.choice((0, 0.01, 0.05)))
        if chance < 0.4:
            self._process(killed_at=int(LAST_STEP ** self.random.random()))
        elif chance < 0.75:
            self._process(killed_at=self.random.randrange(1, 12), killed_in=self.random.choice(BATCH_STAGES))
        elif chance < 0.95:
            self._process(seconds=self.random.uniform(0.05, 1.5))
        else:
            self._process()
        self._look()
        for _ in range(self.random.randrange(8)):
            self.life.change()

    def _settle(self) -> None:
        """One pass without faults, another that has nothing to do, and the comparison with the Hub.

        Both run a day later, when whatever failed in passing is offered again.
        """
        later = datetime.now(UTC) + LONGEST_PAUSE
        self._process(now=later)
        self._look()
        report = self._process(now=later)
        idle = ("new", "changed", "deleted", "batches")
        violations = self.outcome.violations
        violations.stale += [
            f"the last pass found {name} {report[name]}" for name in idle if report.get(name)
        ]
        if "unavailable" in report:
            violations.broken.append(f"unavailable without faults: {report['unavailable']}")
        truth.compare_with_hub(self.lake, self.held, self.hub.repos, self._unreadable(), violations)
        self.outcome.models, self.outcome.indexed = len(self.hub.repos), len(self.held.models)
        self.outcome.twice_wrong = len(self._twice_wrong() & self.held.models.keys())

    def _unreadable(self) -> set[str]:
        """Models whose weights are none."""
        return {
            model_id
            for model_id, repo in self.hub.repos.items()
            for name in repo.head.files
            if repo.path(repo.head, name).read_bytes() == UNREADABLE
        }

    def _twice_wrong(self) -> set[str]:
        return {
            model_id
            for model_id, repo in self.hub.repos.items()
            for name in repo.head.files
            if self.faults.wrong[f"/{model_id}/resolve/{repo.head.sha}/{name}"] > 1
        }

    def _look(self) -> None:
        """Compare what the lake holds with what it held."""
        now = truth.holdings(self.lake, self.outcome.violations)
        truth.compare_with_before(self.held, now, self.outcome.violations)
        self.held = now

    def _process(
        self,
        killed_at: int | None = None,
        killed_in: str | None = None,
        seconds: float | None = None,
        now: datetime | None = None,
    ) -> dict[str, Any]:
        """Run one process: to its end, to a step, or for some seconds; its report, if it was not killed."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        source = {
            "kind": "huggingface",
            "endpoint": self.hub.endpoint,
            "page_size": self.random.randrange(3, 12),
            "parallel": self.random.choice((1, 4)),
            "requests_per_5_minutes": 10**7,
            "token_env": "PEACE_NO_TOKEN",
        }
        size = self.random.choice((2, 5, 8, 12))
        order = Order(self.lake.root, source, size, report, killed_at, killed_in, now)
        process = self.context.Process(target=work, args=(order,), daemon=True)
        process.start()
        process.join(LONGEST if seconds is None else seconds)
        if process.is_alive():
            if seconds is None:
                self.outcome.violations.broken.append(f"a process hung for {LONGEST} s")
            process.kill()
            process.join()
        if process.exitcode == -9:
            told = json.loads(report.read_text()) if report.exists() else {}
            self.outcome.kills[f"{told.get('stage', 'any moment')} {told.get('step', '')}".strip()] += 1
            return {}
        if process.exitcode:
            self.outcome.violations.broken.append(f"a process ended with status {process.exitcode}")
            return {}
        told = json.loads(report.read_text())
        self.outcome.unavailable += "unavailable" in told
        return dict(told)
