"""What names of tensors say: which place of one network is which of another, and in what order layers come."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch

_NUMBER = re.compile(r"\d+")
_LONGEST = 8
"""Parts of a name, from its end, that are compared."""
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Names = Mapping[str, str]
"""A tensor of the first network → its counterpart in the second."""


class Places:
    """Where the places of one network are in another, by tensors at least the last ``least`` parts of whose names are
    alike: with one, the tensors of a layer go where its weight is."""

    def __init__(self, pairs: Iterable[tuple[str, str]], least: int = 2) -> None:
        votes: defaultdict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
        for a, b in pairs:
            first, second = a.split("."), b.split(".")
            alike = 0
            while alike < min(len(first), len(second)) and first[-1 - alike] == second[-1 - alike]:
                alike += 1
            for kept in range(alike, least - 1, -1):
                votes[tuple(first[: len(first) - kept])][tuple(second[: len(second) - kept])] += 1
        self._places = {place: found.most_common(1)[0][0] for place, found in votes.items()}

    def of(self, name: str) -> str:
        """The name that a tensor would have in the other network; its own where nothing is known of its place."""
        parts, length = name.split("."), self.known(name)
        return name if length < 0 else ".".join([*self._places[tuple(parts[:length])], *parts[length:]])

    def known(self, name: str) -> int:
        """How many parts of a name are those of the smallest place that is known; −1 where none is."""
        parts = name.split(".")
        lengths = range(len(parts) - 1, -1, -1)
        return next((length for length in lengths if tuple(parts[:length]) in self._places), -1)


def alike(first: Sequence[str], second: Sequence[str]) -> torch.Tensor:
    """How many parts at the end the names of both have in common (first, second), from 0 to 1."""
    found = np.zeros((len(first), len(second)))
    for length in range(1, _LONGEST + 1):
        a, b = (
            np.array([".".join(name.split(".")[-length:]) for name in names]) for names in (first, second)
        )
        found += a[:, None] == b[None]
    return torch.from_numpy(found / _LONGEST)


def in_order(pairs: Names, shapes: tuple[Mapping[str, object], Mapping[str, object]]) -> bool:
    """Whether counterparts come in one order as far as names tell: their numbers grow together, and no tensor stands
    for another one than that of its name and ``shapes`` in the same place."""
    series: defaultdict[tuple[str, str], list[tuple[list[int], list[int]]]] = defaultdict(list)
    for a, b in pairs.items():
        series[_NUMBER.sub("#", a), _NUMBER.sub("#", b)].append((_numbers(a), _numbers(b)))
    for found in series.values():
        if any(second >= third for (_, second), (_, third) in pairwise(sorted(found))):
            return False
    if exchanged(pairs, shapes):
        return False
    places = Places(pairs.items())
    namesakes, taken = ((a, b, places.of(a)) for a, b in pairs.items()), set(pairs.values())
    return not any(
        namesake != b and shapes[0][a] == shapes[1].get(namesake) and namesake in taken
        for a, b, namesake in namesakes
    )


def exchanged(pairs: Names, shapes: tuple[Mapping[str, object], Mapping[str, object]]) -> bool:
    """Whether tensors stand for others whose names, apart from numbers, both networks have for tensors of these shapes:
    an actor for a critic."""
    kinds = [{(_NUMBER.sub("#", name), shape) for name, shape in own.items()} for own in shapes]
    both = kinds[0] & kinds[1]
    return any(
        _NUMBER.sub("#", a) != _NUMBER.sub("#", b)
        and {(_NUMBER.sub("#", a), shapes[0][a]), (_NUMBER.sub("#", b), shapes[0][a])} <= both
        for a, b in pairs.items()
    )


def _numbers(name: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(name)]


def without(left: Sequence[str], every: Iterable[str]) -> str:
    """Of a network's tensors ``every``, what those that are ``left`` make: ``its first two blocks, lm_head``."""
    every, rest = list(every), set(left)
    blocks = _blocks(every)
    kept = {name.rpartition(".")[0] for name in every if name not in rest}
    found = []
    for place, members in blocks.items():
        gone = [number for number, names in sorted(members.items()) if names <= rest]
        if gone and len(gone) < len(members):
            rest -= {name for number in gone for name in members[number]}
            found.append(_named(place, gone, sorted(members)))
    parents = ((name, name.rpartition(".")[0]) for name in left if name in rest)
    modules = list(dict.fromkeys(name if parent in kept else parent or name for name, parent in parents))
    return ", ".join([*found, *modules[:3], *([f"{len(modules) - 3} more"] if len(modules) > 3 else [])])


def _blocks(every: Iterable[str]) -> dict[str, dict[int, set[str]]]:
    """Place of a list of blocks → number → tensors: lists whose members have several tensors each."""
    found: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in every:
        parts = name.split(".")
        number = next((position for position, part in enumerate(parts) if part.isdigit()), None)
        if number is not None:
            found[".".join(parts[:number])][int(parts[number])].add(name)
    return {place: dict(blocks) for place, blocks in found.items() if min(map(len, blocks.values())) > 1}


def _named(place: str, gone: Sequence[int], every: Sequence[int]) -> str:
    count = _WORDS[len(gone)] if len(gone) < len(_WORDS) else str(len(gone))
    blocks = "block" if len(gone) == 1 else "blocks"
    start = bisect_left(every, gone[0])
    if list(gone) == list(every[start : start + len(gone)]):
        if start == 0:
            return f"its first {'' if len(gone) == 1 else count + ' '}{blocks}"
        if start + len(gone) == len(every):
            return f"its last {'' if len(gone) == 1 else count + ' '}{blocks}"
    return f"{count} {blocks} ({', '.join(f'{place}.{number}'.lstrip('.') for number in gone)})"
