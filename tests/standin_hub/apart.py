"""A stand-in Hub of many small models in a process of its own, so that its time and memory are not the crawler's."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tests.standin_hub.hub import StandinHub

NEW, CHANGED, DELETED = 50, 20, 5
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Changes:
    """Models that are new, changed or deleted."""

    new: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


@contextmanager
def served(root: Path, share: float, seed: int) -> Iterator[tuple[str, Connection]]:
    """A Hub in a process of its own: its address, and the line to it."""
    line, end = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(end, root, share, seed), daemon=True)
    process.start()
    yield line.recv(), line
    line.send(())
    process.join()


def ask(hub: Connection, *order: Any) -> Any:
    """Give the Hub an order; its answer."""
    hub.send(order)
    return hub.recv()


def serve(line: Connection, root: Path, share: float, seed: int) -> None:
    """Serve a Hub until told to stop."""
    with StandinHub(root) as hub:
        zoo = Zoo(hub, share, seed)
        line.send(hub.endpoint)
        while order := line.recv():
            line.send(getattr(zoo, order[0])(*order[1:]))


class Zoo:
    """The models at the Hub."""

    def __init__(self, hub: StandinHub, share: float, seed: int) -> None:
        self.hub, self.share, self.random = hub, share, random.Random(seed)

    def grow(self, size: int) -> None:
        """Push models, dated at random within two years, until there are ``size``."""
        for number in range(len(self.hub.repos), size):
            days = timedelta(days=self.random.uniform(0, 730))
            files = self._files(number, weights=self.random.random() < self.share)
            self.hub.push(f"org{number % 97}/m{number}", files, datetime(2024, 1, 1, tzinfo=UTC) + days)

    def change(self) -> Changes:
        """Add, change and delete models that have weights."""
        touched = self.random.sample(sorted(self.heads()), CHANGED + DELETED)
        found = Changes(
            {f"new/n{number}" for number in range(NEW)}, set(touched[DELETED:]), set(touched[:DELETED])
        )
        for number, model_id in enumerate(sorted(found.new | found.changed)):
            self.hub.push(model_id, self._files(10**6 + number, weights=True))
        for model_id in found.deleted:
            self.hub.delete(model_id)
        return found

    def heads(self) -> dict[str, str]:
        """The newest revision of every model that has weights."""
        repos = self.hub.repos.values()
        return {repo.id: repo.head.sha for repo in repos if "model.safetensors" in repo.head.files}

    def _files(self, number: int, *, weights: bool) -> dict[str, bytes | Path]:
        card = (
            f"---\nlicense: mit\npipeline_tag: text-classification\n---\n# Model {number}\n"
            + "It is small. " * 50
        )
        files: dict[str, bytes | Path] = {
            "README.md": card.encode(),
            "config.json": b'{"model_type": "mlp", "hidden_act": "relu"}',
        }
        if not weights:
            return files
        generator = torch.Generator().manual_seed(number)
        widths = ((6, 5), (4, 6), (3, 4))
        state = {
            f"{2 * layer}.weight": torch.randn(width, generator=generator)
            for layer, width in enumerate(widths)
        }
        return files | {"model.safetensors": save(state)}
