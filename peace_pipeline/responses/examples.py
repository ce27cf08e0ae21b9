"""Labelled examples of somebody's task, as each network reads them: rows of numbers, pictures, signals or texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from peace_pipeline.responses.probes import InputSpec, has_channels_last
from peace_pipeline.responses.runners.model import CannotRun
from peace_pipeline.responses.standard import NUMBERS
from peace_pipeline.responses.tokenizing import tokenised
from peace_pipeline.zoo.card import TOKENIZER

MOST = 1000
"""Examples that networks are asked, at most: drawn from more."""
_LETTERS = 16
"""Of a token, at most: what is beyond so many for each token that a network reads isn't looked at."""


class BadExamples(ValueError):
    """Examples that can't be used, and why."""


@dataclass(frozen=True)
class Examples:
    """Inputs (examples, …), numbers or ids of tokens, or so many texts; labels (examples,) from 0, and the names of the
    ``classes`` that they stand for; ``given`` is of how many examples these were drawn, and ``scaled`` says whether
    numbers were brought to mean 0 and deviation 1."""

    inputs: NDArray[Any] | tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    given: int
    scaled: bool = False

    @classmethod
    def of(cls, inputs: Any, labels: Any) -> Examples:
        """Of arrays, tensors or lists, pictures with one or three channels first or last; of more than ``MOST``
        examples so many are drawn, of rare classes as many as there are.

        Raises:
            BadExamples: where there is no label for each input, there are fewer than two classes, or more than half as
                many as examples; where inputs are neither numbers of float32 nor texts.
        """
        x, (places, names) = _inputs(inputs), classes_of(labels)
        if len(x) != len(places):
            raise BadExamples(f"{len(x):,} inputs, but {len(places):,} labels")
        if len(names) < 2:
            raise BadExamples("all examples have one label: two classes or more are needed")
        if 2 * len(names) > min(len(places), MOST):
            raise BadExamples(
                f"{len(names):,} different labels of {len(places):,} examples: at most half as many classes as "
                f"examples, and {MOST // 2:,}"
            )
        drawn = drawn_of(places)
        chosen = tuple(x[place] for place in drawn) if isinstance(x, tuple) else x[drawn]
        return cls(chosen, places[drawn], names, len(places))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The inputs as rows (examples, values), where they are no texts."""
        if isinstance(self.inputs, tuple):
            return None
        return self.inputs.reshape(len(self), -1).astype(np.float64)

    @property
    def commonest(self) -> float:
        """The share of the most frequent class: what one who always says it gets right."""
        return float(np.bincount(self.labels).max() / len(self))

    @property
    def distinct(self) -> int:
        """How many inputs differ."""
        rows = self.inputs if isinstance(self.inputs, tuple) else (row.tobytes() for row in self.inputs)
        return len(set(rows))

    @property
    def are_ids(self) -> bool:
        """Whether they may be ids of tokens."""
        return not isinstance(self.inputs, tuple) and self.inputs.dtype.kind in "iu" and self.inputs.ndim == 2

    def refused_by(self, kind: str, shape: Sequence[int] | None) -> str | None:
        """Why networks that take a ``kind`` of inputs, of a ``shape`` where that is known, don't take these."""
        if isinstance(self.inputs, tuple):
            return "it reads numbers, not texts" if kind == NUMBERS else None
        if kind != NUMBERS and not self.are_ids:
            return "it reads tokens, not numbers"
        if shape is None:
            return None
        own = self.inputs.shape[1:]
        if kind != NUMBERS:
            return f"it is asked {shape[0]} tokens, not {own[0]}" if own[0] > shape[0] else None
        if _is_same(own, shape) or _is_picture(own, shape):
            return None
        return f"it takes inputs of shape {list(shape)}, not {list(own)}"

    def read_by(self, spec: InputSpec, folder: Path, step: int) -> Iterator[Tensor]:
        """The inputs as a network with its files in ``folder`` takes them, ``step`` at a time: (step, *spec.shape).

        Raises:
            CannotRun: where it doesn't.
        """
        if reason := self.refused_by(spec.kind, spec.shape):
            raise CannotRun(reason)
        if isinstance(self.inputs, tuple):
            return iter(torch.from_numpy(_in_tokens(self.inputs, spec, folder)).split(step))
        if spec.kind != NUMBERS:
            return iter(torch.from_numpy(_ids(self.inputs, spec)).split(step))
        parts = (self.inputs[start : start + step] for start in range(0, len(self), step))
        return (_as_shaped(torch.from_numpy(np.array(part, np.float32)), spec.shape) for part in parts)


def _inputs(given: Any) -> NDArray[Any] | tuple[str, ...]:
    """What is given, as an array of numbers or as texts."""
    if isinstance(given, list | tuple) and given and all(isinstance(one, str) for one in given):
        return tuple(given)
    with _understood("inputs"):
        x = np.asarray(_plain(given))
    if x.dtype.kind in "OU" and x.ndim == 1 and len(x) and all(isinstance(one, str) for one in x):
        return tuple(map(str, x))
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise BadExamples(f"inputs are neither rows of numbers nor texts: {x.dtype} of shape {list(x.shape)}")
    return finite(np.moveaxis(x, 3, 1) if has_channels_last(x.shape[1:]) else x)


def _plain(given: Any) -> Any:
    """A tensor as numpy can take it, anything else as it is."""
    if not isinstance(given, Tensor):
        return given
    given = given.detach().cpu()
    return given.float() if given.is_floating_point() else given


def finite(x: NDArray[Any]) -> NDArray[Any]:
    """The same numbers.

    Raises:
        BadExamples: where not all are finite as float32.
    """
    with np.errstate(over="ignore"):
        if not np.isfinite(x.astype(np.float32)).all():
            raise BadExamples("not all numbers are finite in single precision")
    return x


def classes_of(labels: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each example, from 0, and what the classes are called."""
    with _understood("labels"):
        y = np.asarray(_plain(labels))
    if y.ndim == 0 or y.size != len(y):
        raise BadExamples(f"labels of shape {list(y.shape)}: one an example is needed")
    with _understood("labels"):
        told = pa.array(y.reshape(-1).tolist(), from_pandas=True)
    if told.null_count:
        raise BadExamples("a label is missing")
    with _understood("labels"):
        names, places = np.unique(told.to_numpy(zero_copy_only=False), return_inverse=True)
    return places.astype(np.int64), tuple(str(name) for name in names)


@contextmanager
def _understood(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # numpy, arrow and torch have many of their own
        raise BadExamples(f"{what} can't be understood: {' '.join(str(error).split())}") from error


def drawn_of(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """``MOST`` examples, in their order: the first of every class in a random order, then the second, …"""
    shuffled = np.random.default_rng(0).permutation(len(places))
    by_class = shuffled[places[shuffled].argsort(kind="stable")]
    counts = np.bincount(places)
    turn = np.arange(len(places)) - np.repeat(counts.cumsum() - counts, counts)
    return np.sort(by_class[turn.argsort(kind="stable")[:MOST]])


def _is_same(own: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether examples of one shape are read as inputs of another: dimensions of 1 come and go, and a row is read along
    a picture or signal, or one as a row."""
    if [size for size in own if size != 1] == [size for size in shape if size != 1]:
        return True
    return math.prod(own) == math.prod(shape) and 1 in (len(own), len(shape))


def _is_picture(own: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether both are pictures (channels, height, width) of as many channels, or one of them of one."""
    return len(own) == len(shape) == 3 and (own[0] == shape[0] or 1 in (own[0], shape[0]))


def _as_shaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers (examples, …) as inputs of a shape that takes them: a picture is brought to another size, its one channel
    repeated, or several averaged to one."""
    if _is_same(x.shape[1:], shape):
        return x.reshape(-1, *shape)
    if x.shape[1] != shape[0]:
        x = x.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    return F.interpolate(x, shape[1:], mode="bilinear", antialias=True)


def _ids(x: NDArray[Any], spec: InputSpec) -> NDArray[np.int64]:
    """Ids of tokens (examples, *spec.shape), padded."""
    least, most = int(x.min()), int(x.max())
    if least < 0 or most >= spec.vocabulary:
        raise CannotRun(f"it has {spec.vocabulary:,} tokens: none of id {least if least < 0 else most}")
    found = np.full((len(x), *spec.shape), spec.padding)
    found[:, : x.shape[1]] = x
    return found


def _in_tokens(texts: tuple[str, ...], spec: InputSpec, folder: Path) -> NDArray[np.int64]:
    """The first tokens of texts, as many as the network is asked (examples, *spec.shape), padded; of those that a text
    has, the one that stands for padding is left out."""
    length = spec.shape[0]
    cut = [text[: _LETTERS * length].encode("utf-8", "replace").decode() for text in texts]
    if (found := tokenised(folder / TOKENIZER, cut, length)) is None:
        raise CannotRun(f"it has no {TOKENIZER} that reads these texts, within bounds of time and memory")
    ids = np.full((len(texts), *spec.shape), spec.padding)
    for row, tokens in zip(ids, found, strict=True):
        kept = [token for token in tokens if token != spec.padding]
        row[: len(kept)] = kept
    if ids.max() >= spec.vocabulary:
        raise CannotRun(f"its {TOKENIZER} has more tokens than it")
    return ids
