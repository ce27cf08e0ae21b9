"""Target tasks that no zoo of ours has a network for: other views, parts and kinds of data, few examples, and a text.

A target on data of a zoo's task is made of those of that task's *test* examples that no other task of a zoo trains on:
no candidate was trained on any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor

from peace_pipeline.zoo.trained.data import CLS, VOCABULARY, words
from peace_pipeline.zoo.trained.scaling import SCALINGS
from peace_pipeline.zoo.trained.tasks import load_task, untouched
from peace_pipeline.zoo.trained.views import INPUTS, VIEWS

TESTED = 300
"""Test examples of a target, at most; never more than half of all that there are."""
VALIDATION = 100
"""Examples to choose by among a method's networks, at most."""
TEXT, TABLE = "text-classification", "tabular-classification"
LANGUAGES = ("ca", "hu", "id", "sh", "fil")
"""Of which no task of a zoo reads a word."""


@dataclass(frozen=True)
class Target:
    """A task to transfer to: some ``classes`` of the zoo's ``task`` (all of them where there are none) in a ``view``,
    and how many ``examples`` there are to train on. ``title`` and ``kind`` are its description."""

    name: str
    title: str
    kind: str
    task: str
    examples: int
    classes: tuple[int, ...] = ()
    view: str = "plain"

    @property
    def description(self) -> str:
        """What somebody who looks for a network in a catalogue would write."""
        return f"{self.kind.replace('-', ' ')}: {self.title}"


_IMAGE, _SIGNAL = "image-classification", "time-series-classification"
TARGETS = (
    Target("digits-mirrored", "handwritten digits, mirrored", _IMAGE, "digits", 100, view="mirrored"),
    Target("digits-high", "handwritten digits, 5 to 9", _IMAGE, "digits", 40, (5, 6, 7, 8, 9)),
    Target("animals-inverted", "animal silhouettes, inverted", _IMAGE, "animal-mnist", 200, view="inverted"),
    Target("animals-few", "animal silhouettes, the last five", _IMAGE, "animal-mnist", 30, (5, 6, 7, 8, 9)),
    Target("signals-inverted", "one-dimensional digits, inverted", _SIGNAL, "mnist1d", 300, view="inverted"),
    Target("signals-half", "one-dimensional digits, 0 to 4", _SIGNAL, "mnist1d", 100, (0, 1, 2, 3, 4)),
    Target("heartbeats", "heartbeats in an electrocardiogram", _SIGNAL, "heartbeats-90-0", 100),
    Target("lissajous", "Lissajous figures", _IMAGE, "lissajous-90-0", 100),
    Target("cells-noisy", "breast cancer diagnoses, noisy", TABLE, "breast-cancer", 30, view="noisy"),
    Target("poker", "hands of poker", TABLE, "poker-90-0", 200),
    Target("languages", "the language of a word", TEXT, "", 300),
)


@dataclass(frozen=True)
class Part:
    """Examples (examples, 64 numbers, or 12 tokens where networks read text) with their labels (examples,)."""

    numbers: NDArray[np.float32]
    tokens: NDArray[np.int64] | None
    labels: NDArray[np.int64]

    def inputs(self, config: dict[str, Any]) -> Tensor | None:
        """As the networks of a config.json read them, or ``None`` where those cannot."""
        if "vocab_size" not in config:
            return torch.tensor(self.numbers).view(-1, *config["input_shape"])
        return None if self.tokens is None else torch.tensor(self.tokens).view(-1, *config["input_shape"])


@dataclass(frozen=True)
class Drawn:
    """A target's examples under one seed; the test examples are those of every seed."""

    target: Target
    train: Part
    validation: Part
    test: Part

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.test.labels.max()) + 1


def draw(target: Target, seed: int) -> Drawn:
    """Draw a target's training and validation examples, class by class; numbers are scaled by the training examples.

    Networks that read numbers are given a word as how often it has each of the 64 tokens.

    Raises:
        RuntimeError: where the package that carries its data is missing.
    """
    x, y = _examples(target)
    places = np.arange(len(y))
    rest, test = train_test_split(places, test_size=min(TESTED, len(y) // 2), stratify=y, random_state=0)
    train, others = train_test_split(rest, train_size=target.examples, stratify=y[rest], random_state=seed)
    validation, _ = (
        train_test_split(others, train_size=VALIDATION, stratify=y[others], random_state=seed)
        if len(others) > VALIDATION + target.examples
        else (others, [])
    )
    numbers = _scaled(target, _counts(x) if target.kind == TEXT else x, train)
    tokens = x if target.kind == TEXT else None
    part = partial(_part, numbers, tokens, y)
    return Drawn(target, part(train), part(validation), part(test))


def _part(
    numbers: NDArray[np.float32],
    tokens: NDArray[np.int64] | None,
    y: NDArray[np.int64],
    places: NDArray[np.int64],
) -> Part:
    return Part(numbers[places], None if tokens is None else tokens[places], y[places])


@cache
def _examples(target: Target) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All examples, without the zeros that pad them, and labels from 0."""
    if target.kind == TEXT:
        return words(LANGUAGES)
    task = load_task(target.task)
    x, y = task.x_test, task.y_test
    if task.data_set is not None:  # made-up data of which the zoo has nothing
        x, y = np.concatenate([task.x_train, x]), np.concatenate([task.y_train, y])
    else:
        fresh = untouched(target.task)
        x, y = x[fresh], y[fresh]
    chosen = np.isin(y, target.classes or np.unique(y))
    x = VIEWS[target.view](x[chosen][:, : np.flatnonzero(x.any(0))[-1] + 1])
    return x, np.unique(y[chosen], return_inverse=True)[1]


def _counts(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each letter is in a word: (examples, tokens of the vocabulary)."""
    counts = (tokens[..., None] == np.arange(VOCABULARY)).sum(1).astype(np.float64)
    counts[:, : CLS + 1] = 0
    return counts


def _scaled(target: Target, x: NDArray[Any], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standardised as the zoo's inputs are, and padded to 64."""
    axis = 0 if target.kind == TABLE else None
    x = SCALINGS["standardised"](x, x[train], axis)
    return np.pad(x, ((0, 0), (0, INPUTS - x.shape[1]))).astype(np.float32)
