"""What goes on at the Hub: models are pushed, changed, gated, hidden and deleted, at any moment."""

from __future__ import annotations

import io
import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import torch
from safetensors.torch import save

from tests.lakes import card_of
from tests.standin_hub import Faults, StandinHub

STATES: tuple[dict[str, Any], ...] = ({"gated": "auto"}, {"disabled": True}, {"private": True})
OPEN: dict[str, Any] = {"gated": False, "disabled": False, "private": False}
UNREADABLE = b"no safetensors at all"
CONFIG = b'{"model_type": "mlp", "hidden_act": "relu"}'


class CountedFaults(Faults):
    """Random faults, counted by kind; ``wrong`` counts how often each file was sent with wrong bytes."""

    def __init__(self, seed: int, rate: float) -> None:
        super().__init__(seed, rate, seconds=0.005)
        self.struck: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def draw(self, method: str, path: str) -> Any:
        fault = super().draw(method, path)
        weights = method == "GET" and path.endswith((".safetensors", ".bin"))
        if fault and (fault.kind != "wrong_bytes" or weights):
            self.struck[fault.kind] += 1
            self.wrong[path] += fault.kind == "wrong_bytes"
        return fault


class Life:
    """Changes a Hub at random, by a clock of its own that runs through months."""

    def __init__(self, hub: StandinHub, seed: int) -> None:
        self.hub, self.random = hub, random.Random(seed)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.pushed = 0
        self.changes: Counter[str] = Counter()
        self.lock = threading.Lock()

    def begin(self, models: int) -> None:
        """Fill the Hub."""
        for _ in range(models):
            self._push_new()
        self.changes.clear()

    def change(self) -> None:
        """Something happens."""
        with self.lock:
            kinds = (
                self._push_new,
                self._push,
                self._push,
                self._touch_late,
                self._set,
                self._set,
                self._delete,
            )
            self.random.choice(kinds)()

    def while_asked(self, share: float) -> None:
        """From now on something happens before this share of requests."""

        def happen(method: str, path: str) -> None:
            with self.lock:
                happens = self.random.random() < share
            if happens:
                self.change()

        self.hub.on_request = happen

    def _moment(self) -> datetime:
        self.now += timedelta(minutes=self.random.uniform(1, 600))
        return self.now

    def _any(self) -> str | None:
        ids = sorted(self.hub.repos)
        return self.random.choice(ids) if ids else None

    def _push_new(self) -> None:
        self.pushed += 1
        settings = self.random.choice(STATES) if self.random.random() < 0.2 else {}
        name = f"org{self.random.randrange(3)}/Model.{self.pushed}-x"
        self.hub.push(name, self._files(), self._moment(), **settings)
        self.changes["new"] += 1

    def _push(self) -> None:
        if model := self._any():
            self.hub.push(model, self._files(), self._moment())
            self.changes["pushed"] += 1

    def _touch_late(self) -> None:
        """A revision that is dated back, so that a walk from the newest down doesn't see it."""
        if model := self._any():
            self.hub.touch(model, at=self.now - timedelta(days=self.random.uniform(0, 90)))
            self.changes["dated back"] += 1

    def _set(self) -> None:
        if model := self._any():
            state = self.random.choice(STATES) if self.random.random() < 0.5 else {}
            self.hub.set(model, **OPEN | state)
            self.changes["set"] += 1

    def _delete(self) -> None:
        """Delete a model; sometimes another one takes its name."""
        if model := self._any():
            self.hub.delete(model)
            if self.random.random() < 0.3:
                self.hub.push(model, self._files(), self._moment())
            self.changes["deleted"] += 1

    def _files(self) -> dict[str, bytes]:
        files = {"config.json": CONFIG}
        if self.random.random() < 0.5:
            files["README.md"] = card_of(self.random.choice(("cat", "dog"))).encode()
        kind = self.random.random()
        if kind < 0.1:
            return files
        if kind < 0.15:
            return files | {"model.safetensors": UNREADABLE}
        state = self._network()
        if kind < 0.25:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            return files | {"pytorch_model.bin": buffer.getvalue()}
        return files | {"model.safetensors": save(state)}

    def _network(self) -> dict[str, torch.Tensor]:
        """The weights of a small network."""
        generator = torch.Generator().manual_seed(self.random.randrange(2**31))
        widths = [6, *(self.random.randrange(3, 7) for _ in range(self.random.randrange(1, 3))), 3]
        state = {}
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            state[f"{2 * layer}.weight"] = torch.randn(outputs, inputs, generator=generator)
            state[f"{2 * layer}.bias"] = torch.randn(outputs, generator=generator)
        return state
