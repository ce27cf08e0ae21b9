"""The tasks of the trained zoo, declared as data, classes, a view of the inputs and a naming of the labels.

Every task has labels below 10 and a fixed split. Inputs are 64 numbers (an 8×8 image, or features and signals
padded with zeros), or for text 12 token ids. From the declarations follows how similar two tasks are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import data

INPUTS, LABELS = 64, 10
TRAIN, TEST = 2000, 1000
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A classification task: inputs (examples, 64 numbers or 12 tokens), labels (examples,), what they are."""

    name: str
    title: str
    pipeline_tag: str
    x_train: Floats | Integers
    y_train: Integers
    x_test: Floats | Integers
    y_test: Integers

    @property
    def chance(self) -> float:
        """Accuracy of always answering the test split's most common label."""
        return float(np.bincount(self.y_test).max() / len(self.y_test))

    @property
    def is_text(self) -> bool:
        """Whether inputs are token ids."""
        return self.pipeline_tag == "text-classification"


@dataclass(frozen=True)
class _Source:
    """Where examples come from; ``per_feature`` where every column has a scale of its own."""

    pipeline_tag: str
    load: Callable[..., data.Raw]
    per_feature: bool = False
    train: int = TRAIN


_SOURCES = {
    "digits": _Source("image-classification", data.digits),
    "breast-cancer": _Source("tabular-classification", data.breast_cancer, per_feature=True),
    "wine": _Source("tabular-classification", data.wine, per_feature=True),
    "animal-mnist": _Source("image-classification", data.animal_mnist),
    "mnist1d": _Source("time-series-classification", data.mnist1d),
    "words": _Source("text-classification", data.words, train=10_000),
}
_VIEWS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "plain": lambda x: x,
    "inverted": lambda x: x.max() - x,
    "rotated": lambda x: np.rot90(x.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, INPUTS),
    "reversed": lambda x: x[:, ::-1],
}
_NAMINGS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "own": lambda y: y,
    "permuted": lambda y: (3 * y + 1) % LABELS,
    "parity": lambda y: y % 2,
}


@dataclass(frozen=True)
class _Declared:
    """A task as declared: ``classes`` of a source (labelled by their index), seen and named in some way."""

    title: str
    source: str
    classes: tuple[Any, ...]
    view: str = "plain"
    naming: str = "own"


_TEN = tuple(range(10))
_DIGITS, _ANIMALS = "handwritten digits (scikit-learn)", "animal silhouettes (animal-mnist)"
_SIGNALS, _WORDS = "one-dimensional digits (mnist1d)", "the language of a word (wordfreq)"
_DECLARED = {
    "digits": _Declared(_DIGITS, "digits", _TEN),
    "breast-cancer": _Declared("breast cancer diagnoses (scikit-learn)", "breast-cancer", (0, 1)),
    "animal-mnist": _Declared(_ANIMALS, "animal-mnist", _TEN),
    "mnist1d": _Declared(_SIGNALS, "mnist1d", _TEN),
    "wine": _Declared("cultivars of wine (scikit-learn)", "wine", (0, 1, 2)),
    "digits-inverted": _Declared(f"{_DIGITS}, inverted", "digits", _TEN, view="inverted"),
    "digits-rotated": _Declared(f"{_DIGITS}, rotated by 90°", "digits", _TEN, view="rotated"),
    "digits-permuted": _Declared(f"{_DIGITS}, under other labels", "digits", _TEN, naming="permuted"),
    "digits-parity": _Declared(f"{_DIGITS}, even or odd", "digits", _TEN, naming="parity"),
    "digits-low": _Declared(f"{_DIGITS}, 0 to 4", "digits", _TEN[:5]),
    "animal-rotated": _Declared(f"{_ANIMALS}, rotated by 90°", "animal-mnist", _TEN, view="rotated"),
    "animal-half": _Declared(f"{_ANIMALS}, the first five", "animal-mnist", _TEN[:5]),
    "mnist1d-reversed": _Declared(f"{_SIGNALS}, reversed", "mnist1d", _TEN, view="reversed"),
    "languages-germanic": _Declared(f"{_WORDS}, Germanic", "words", ("en", "de", "nl", "sv", "is")),
    "languages-nordic": _Declared(f"{_WORDS}, Nordic", "words", ("sv", "da", "nb", "is", "fi")),
    "languages-romance": _Declared(f"{_WORDS}, Romance", "words", ("es", "fr", "it", "pt", "ro")),
    "languages-balto-slavic": _Declared(f"{_WORDS}, Balto-Slavic", "words", ("cs", "pl", "sl", "lt", "lv")),
    "languages-mixed": _Declared(f"{_WORDS}, of five families", "words", ("en", "fr", "pl", "fi", "tr")),
}
TASKS = tuple(_DECLARED)


@cache
def load_task(name: str) -> Task:
    """The task ``name``: standardised on its training split, padded to 64 inputs, split once and for all.

    Images and signals are standardised as a whole, tables feature by feature; text stays token ids.

    Raises:
        ValueError: if there is no such task.
        RuntimeError: if the package that carries its data is missing or holds other data than expected.
    """
    declared = _declared(name)
    source = _SOURCES[declared.source]
    x, y = _distinct(*_examples(declared))
    order = np.random.default_rng(0).permutation(len(x))
    test = min(TEST, len(x) // 4)
    train, held_out = order[test : test + source.train], order[:test]
    x = _VIEWS[declared.view](x)
    if declared.source != "words":
        x = _standardised(x, train, axis=0 if source.per_feature else None)
    y = _NAMINGS[declared.naming](y).astype(np.int64)
    return Task(name, declared.title, source.pipeline_tag, x[train], y[train], x[held_out], y[held_out])


def label_count(name: str) -> int:
    """How many labels a task has; its data need not be there.

    Raises:
        ValueError: if there is no such task.
    """
    declared = _declared(name)
    return 2 if declared.naming == "parity" else len(declared.classes)


def task_similarity(a: str, b: str) -> float:
    """How similar two tasks are, from 0 (other data) to 1 (the same task).

    Tasks on the same data score 1/4, and 3/4 more times the share of classes that they have in common, times 2/3
    where one sees the inputs otherwise, times 2/3 where one names the labels otherwise.

    Raises:
        ValueError: if there is no such task.
    """
    one, other = _declared(a), _declared(b)
    if one.source != other.source:
        return 0.0
    mine, theirs = set(one.classes), set(other.classes)
    shared = len(mine & theirs) / len(mine | theirs)
    seen = 1 if one.view == other.view else 2 / 3
    named = 1 if one.naming == other.naming else 2 / 3
    return 0.25 + 0.75 * shared * seen * named


def similarity_table() -> list[dict[str, Any]]:
    """:func:`task_similarity` of every pair of tasks, as rows of ``task``, ``other`` and ``similarity``."""
    return [{"task": a, "other": b, "similarity": task_similarity(a, b)} for a, b in product(TASKS, repeat=2)]


def _declared(name: str) -> _Declared:
    if name not in _DECLARED:
        raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}")
    return _DECLARED[name]


def _examples(declared: _Declared) -> data.Raw:
    """The examples of the declared classes, each labelled by its class's index among them."""
    load = _SOURCES[declared.source].load
    if declared.source == "words":
        return load(declared.classes)
    x, y = load()
    chosen = np.isin(y, declared.classes)
    return x[chosen], np.searchsorted(declared.classes, y[chosen])


def _distinct(x: NDArray[Any], y: NDArray[Any]) -> data.Raw:
    """Examples without repetitions, in their order, lest a test example was trained on."""
    _, first = np.unique(x, axis=0, return_index=True)
    first.sort()
    return x[first], y[first]


def _standardised(x: NDArray[Any], train: NDArray[np.intp], axis: int | None) -> Floats:
    x = (x - x[train].mean(axis)) / x[train].std(axis)
    return np.pad(x, ((0, 0), (0, INPUTS - x.shape[1]))).astype(np.float32)
