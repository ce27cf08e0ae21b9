"""The tasks of the trained zoo, declared as data, classes, a view of the inputs and a naming of the labels.

Every task has labels below 10 and a fixed split. Inputs are 64 numbers (an 8×8 image, or features and signals
padded with zeros), or for text 12 token ids. From the declarations follows how similar two tasks are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import data, procedural, sources
from .declared import Declared, similarity
from .scaling import SCALINGS, Scaling
from .views import INPUTS, VIEWS

TRAIN, TEST = 2000, 1000
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A classification task: inputs (examples, 64 numbers or 12 tokens), labels (examples,), what they are.

    ``scaling`` is that of numbers. A task on made-up data says which ``data_set`` it is on,
    and the ``split`` that its kind of data belongs to.
    """

    name: str
    title: str
    pipeline_tag: str
    x_train: Floats | Integers
    y_train: Integers
    x_test: Floats | Integers
    y_test: Integers
    scaling: Scaling = "standardised"
    data_set: str | None = None
    split: str | None = None

    @property
    def chance(self) -> float:
        """Accuracy of always answering the test split's most common label."""
        return float(np.bincount(self.y_test).max() / len(self.y_test))

    @property
    def is_text(self) -> bool:
        """Whether inputs are token ids."""
        return self.pipeline_tag == "text-classification"


def _of_classes(load: Callable[[], data.Raw]) -> Callable[[tuple[Any, ...]], data.Raw]:
    """The examples of some classes, each labelled by its class's index among them."""

    def examples(classes: tuple[Any, ...]) -> data.Raw:
        x, y = load()
        chosen = np.isin(y, classes)
        return x[chosen], np.searchsorted(classes, y[chosen])

    return examples


@dataclass(frozen=True)
class _Source:
    """Where the examples of given classes come from.

    ``per_feature`` where every column has a scale of its own.
    """

    pipeline_tag: str
    examples: Callable[[tuple[Any, ...]], data.Raw]
    per_feature: bool = False
    train: int = TRAIN
    scaling: Scaling = "standardised"
    data_set: str | None = None
    split: str | None = None


_SOURCES = {
    "digits": _Source("image-classification", _of_classes(data.digits)),
    "breast-cancer": _Source("tabular-classification", _of_classes(data.breast_cancer), per_feature=True),
    "wine": _Source("tabular-classification", _of_classes(data.wine), per_feature=True),
    "animal-mnist": _Source("image-classification", _of_classes(data.animal_mnist)),
    "mnist1d": _Source("time-series-classification", _of_classes(data.mnist1d)),
    "words": _Source("text-classification", data.words, train=10_000),
}

_TEN = tuple(range(10))
_DIGITS, _ANIMALS = "handwritten digits (scikit-learn)", "animal silhouettes (animal-mnist)"
_SIGNALS, _WORDS = "one-dimensional digits (mnist1d)", "the language of a word (wordfreq)"
_DECLARED = {
    "digits": Declared(_DIGITS, "digits", _TEN),
    "breast-cancer": Declared("breast cancer diagnoses (scikit-learn)", "breast-cancer", (0, 1)),
    "animal-mnist": Declared(_ANIMALS, "animal-mnist", _TEN),
    "mnist1d": Declared(_SIGNALS, "mnist1d", _TEN),
    "wine": Declared("cultivars of wine (scikit-learn)", "wine", (0, 1, 2)),
    "digits-inverted": Declared(f"{_DIGITS}, inverted", "digits", _TEN, view="inverted"),
    "digits-rotated": Declared(f"{_DIGITS}, rotated by 90°", "digits", _TEN, view="rotated"),
    "digits-permuted": Declared(f"{_DIGITS}, under other labels", "digits", _TEN, naming="permuted"),
    "digits-parity": Declared(f"{_DIGITS}, even or odd", "digits", _TEN, naming="parity"),
    "digits-low": Declared(f"{_DIGITS}, 0 to 4", "digits", _TEN[:5]),
    "animal-rotated": Declared(f"{_ANIMALS}, rotated by 90°", "animal-mnist", _TEN, view="rotated"),
    "animal-half": Declared(f"{_ANIMALS}, the first five", "animal-mnist", _TEN[:5]),
    "mnist1d-reversed": Declared(f"{_SIGNALS}, reversed", "mnist1d", _TEN, view="reversed"),
    "languages-germanic": Declared(f"{_WORDS}, Germanic", "words", ("en", "de", "nl", "sv", "is")),
    "languages-nordic": Declared(f"{_WORDS}, Nordic", "words", ("sv", "da", "nb", "is", "fi")),
    "languages-romance": Declared(f"{_WORDS}, Romance", "words", ("es", "fr", "it", "pt", "ro")),
    "languages-balto-slavic": Declared(f"{_WORDS}, Balto-Slavic", "words", ("cs", "pl", "sl", "lt", "lv")),
    "languages-mixed": Declared(f"{_WORDS}, of five families", "words", ("en", "fr", "pl", "fi", "tr")),
}
TASKS = tuple(_DECLARED)


@cache
def load_task(name: str) -> Task:
    """The task ``name``: standardised on its training split, padded to 64 inputs, split once and for all.

    Images and signals are standardised as a whole, tables feature by feature; some made-up data is scaled to a range
    instead; text stays token ids.

    Raises:
        ValueError: if there is no such task.
        RuntimeError: if the package that carries its data is missing or holds other data than expected.
    """
    declared = _declared(name)
    source = _source(declared)
    x, y, train, held_out = _split(declared)
    x, y = VIEWS[declared.view](x), declared.names[y]
    if source.pipeline_tag != "text-classification":
        x = SCALINGS[source.scaling](x, x[train], 0 if source.per_feature else None)
        x = np.pad(x, ((0, 0), (0, INPUTS - x.shape[1]))).astype(np.float32)
    return Task(
        name,
        declared.title,
        source.pipeline_tag,
        *(x[train], y[train], x[held_out], y[held_out]),
        scaling=source.scaling,
        data_set=source.data_set,
        split=source.split,
    )


def untouched(name: str) -> NDArray[np.bool_]:
    """Which test examples of a task no task of a zoo on the same data trains on (test examples,): one on a part of the
    classes has a split of its own.

    Raises:
        ValueError: if there is no such task.
    """
    declared = _declared(name)
    x, _, _, held_out = _split(declared)
    others = [other for other in _DECLARED.values() if other.source == declared.source]
    trained = [_rows(raw[train]) for raw, _, train, _ in map(_split, others)]
    return ~np.isin(_rows(x[held_out]), np.concatenate([*trained, _rows(x[:0])]))


def labels(name: str) -> list[int]:
    """The labels that a task has; its data need not be there.

    Raises:
        ValueError: if there is no such task.
    """
    return np.unique(_declared(name).names).tolist()


def task_similarity(a: str, b: str) -> float:
    """How similar two tasks are, from 0 (other data) to 1 (the same task).

    Tasks on the same data score 1/4, and 3/4 more times the share of classes that they have in common, times 2/3
    where one sees the inputs otherwise, times 2/3 where one names the labels otherwise.

    Raises:
        ValueError: if there is no such task.
    """
    return similarity(_declared(a), _declared(b))


def similarity_table() -> list[dict[str, Any]]:
    """:func:`task_similarity` of every pair of tasks, as rows of ``task``, ``other`` and ``similarity``."""
    return [{"task": a, "other": b, "similarity": task_similarity(a, b)} for a, b in product(TASKS, repeat=2)]


def _declared(name: str) -> Declared:
    declared = _DECLARED.get(name) or procedural.declare(name)
    if declared is None:
        raise ValueError(
            f"no task {name!r}; there are {', '.join(TASKS)}, and KIND-NUMBER-VARIATION of made-up data"
        )
    return declared


def _source(declared: Declared) -> _Source:
    if declared.source in _SOURCES:
        return _SOURCES[declared.source]
    tag = sources.KINDS[sources.kind_of(declared.source)].pipeline_tag
    return _Source(
        tag,
        _of_classes(partial(sources.make, declared.source)),
        per_feature=tag == "tabular-classification",
        scaling=sources.scaling(declared.source),
        data_set=declared.source,
        split=sources.split_of(declared.source),
    )


def _split(declared: Declared) -> tuple[Floats | Integers, Integers, Integers, Integers]:
    """All examples of a task as they are, their classes, and the places of those to train and to test on."""
    source = _source(declared)
    x, y = _distinct(*source.examples(declared.classes))
    order = np.random.default_rng(0).permutation(len(x))
    test = min(TEST, len(x) // 4)
    return x, y, order[test : test + source.train], order[:test]


def _rows(x: NDArray[Any]) -> NDArray[np.void]:
    """Examples (examples, inputs) as one value each, to compare."""
    return np.ascontiguousarray(x).view(np.dtype((np.void, x.dtype.itemsize * x.shape[1]))).ravel()


def _distinct(x: NDArray[Any], y: NDArray[Any]) -> data.Raw:
    """Examples without repetitions, in their order, lest a test example was trained on."""
    _, first = np.unique(x, axis=0, return_index=True)
    first.sort()
    return x[first], y[first]
