"""Networks as an encoder takes them, with what they answer, in files: a batch reads the rows that it needs."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from peace_pipeline.responses.answers import Answers
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import Wiring


@dataclass
class _Table:
    """Rows of one width in a file."""

    path: Path
    width: int
    dtype: type
    rows: int = 0

    def append(self, values: np.ndarray) -> range:
        """Add rows (rows, width); returns their numbers."""
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.rows += len(values)
        return range(self.rows - len(values), self.rows)

    def read(self, rows: Sequence[int]) -> torch.Tensor:
        """Rows by number: (rows, width), as float32."""
        shape = (self.rows, self.width)
        found = np.memmap(self.path, self.dtype, "r", shape=shape)[list(rows)]
        return torch.from_numpy(found.astype(np.float32))


@dataclass(frozen=True)
class _Alike:
    """Networks of one signature: their wiring, the shapes of their tensors, their weights."""

    wiring: Wiring
    shapes: dict[str, torch.Size]
    weights: _Table


@dataclass(frozen=True)
class Held:
    """Networks of one signature that answer alike: their numbers, their weights and, where they were run, answers."""

    numbers: list[int]
    stack: Stack
    answers: Answers | None


@dataclass(frozen=True)
class _Place:
    signature: int
    row: int
    asked: tuple[str, int, int] | None = None
    answers: int = -1


class Prepared:
    """Networks, numbered as they come, in files of a new ``folder``; in memory are their names, and a wiring for each
    signature. These are numbered too: one is a text of many kilobytes."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.keys: list[str] = []
        self._places: list[_Place] = []
        self._numbers: dict[str, int] = {}
        self._alike: list[_Alike] = []
        self._answers: dict[tuple[str, int, int], _Table] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def signatures(self) -> list[int]:
        """The number of each network's signature."""
        return [place.signature for place in self._places]

    @property
    def sizes(self) -> list[int]:
        """Values of each network's weights."""
        return [self._alike[place.signature].weights.width for place in self._places]

    @property
    def answer_sizes(self) -> list[int]:
        """Values of each network's answers."""
        return [prod(place.asked[1:]) if place.asked else 0 for place in self._places]

    def add(self, stack: Stack, answers: Answers | None) -> None:
        """Keep the networks of a stack, and what they answer."""
        signature = self._numbers.setdefault(stack.wiring.signature, len(self._alike))
        if signature == len(self._alike):
            shapes = {name: tensor.shape[1:] for name, tensor in stack.tensors.items()}
            width = sum(map(prod, shapes.values()))
            path = self.folder / f"weights-{len(self._alike)}"
            self._alike.append(_Alike(stack.wiring, shapes, _Table(path, width, np.float32)))
        flat = torch.cat([stack.tensors[name].flatten(1) for name in self._alike[signature].shapes], 1)
        rows = self._alike[signature].weights.append(flat.numpy())
        self.keys += stack.keys
        if answers is None:
            self._places += [_Place(signature, row) for row in rows]
            return
        asked = (answers.kind, *answers.outputs.shape[1:])
        if asked not in self._answers:
            path = self.folder / f"answers-{len(self._answers)}"
            self._answers[asked] = _Table(path, prod(asked[1:]), np.float16)
        answered = self._answers[asked].append(answers.outputs.flatten(1).numpy())
        self._places += [
            _Place(signature, *rest) for rest in zip(rows, [asked] * len(rows), answered, strict=True)
        ]

    def select(self, numbers: Sequence[int]) -> list[Held]:
        """Networks by number, those together that are alike; a number may come more than once."""
        alike: dict[tuple[int, tuple[str, int, int] | None], list[int]] = defaultdict(list)
        for number in numbers:
            alike[self._places[number].signature, self._places[number].asked].append(number)
        return [self._held(*way, members) for way, members in alike.items()]

    def _held(self, signature: int, asked: tuple[str, int, int] | None, numbers: list[int]) -> Held:
        places, kept = [self._places[number] for number in numbers], self._alike[signature]
        flat = kept.weights.read([place.row for place in places])
        parts = flat.split([prod(shape) for shape in kept.shapes.values()], 1)
        tensors = {
            name: part.reshape(len(numbers), *shape)
            for (name, shape), part in zip(kept.shapes.items(), parts, strict=True)
        }
        stack = Stack(tuple(self.keys[number] for number in numbers), kept.wiring, tensors)
        if asked is None:
            return Held(numbers, stack, None)
        outputs = self._answers[asked].read([place.answers for place in places])
        return Held(numbers, stack, Answers(asked[0], outputs.reshape(len(numbers), *asked[1:])))
