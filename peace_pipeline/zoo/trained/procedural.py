"""Tasks by name: KIND-NUMBER-VARIATION is a variation of the data set KIND-NUMBER, variation 0 the data set itself.

What a variation changes follows from the name alone: which classes, merged or under which labels, seen how.
"""

from __future__ import annotations

import random

from . import sources
from .declared import Declared
from .views import LABELS, VIEWS_OF


def declare(name: str) -> Declared | None:
    """The task that ``name`` stands for, if it names one."""
    kind_name, *numbers = name.rsplit("-", 2)
    if kind_name not in sources.KINDS or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
        return None
    source, variation = f"{kind_name}-{numbers[0]}", int(numbers[1])
    kind, count = sources.KINDS[kind_name], sources.class_count(source)
    title, classes = f"{kind.title}, number {numbers[0]}", tuple(range(count))
    if variation == 0:
        return Declared(title, source, classes)
    rng = random.Random(name)
    chosen, view = _classes(rng, classes), _view(rng, kind.pipeline_tag)
    naming = _naming(rng, count, whole=chosen == classes, plain=view == "plain")
    parts = [
        "" if chosen == classes else f", classes {', '.join(map(str, chosen))}",
        "" if naming == "own" else f", labelled {', '.join(naming[c] for c in chosen)}",
        "" if view == "plain" else f", {view}",
    ]
    return Declared(title + "".join(parts), source, chosen, view, naming)


def _classes(rng: random.Random, classes: tuple[int, ...]) -> tuple[int, ...]:
    """All classes, or a part of at least two."""
    if len(classes) < 4 or rng.random() < 0.5:
        return classes
    return tuple(sorted(rng.sample(classes, rng.randrange(2, len(classes)))))


def _naming(rng: random.Random, count: int, *, whole: bool, plain: bool) -> str:
    """The classes' own order, other places among the ten labels, or two or three classes each under one label."""
    way = rng.random()
    if way < 0.3 and not (whole and plain):
        return "own"
    places = rng.sample(range(LABELS), LABELS)
    groups = list(range(count))
    if way > 0.75 and count >= 4 and whole:
        groups = [number % (count // 2) for number in rng.sample(groups, count)]
    return "".join(str(places[label]) for label in groups)


def _view(rng: random.Random, pipeline_tag: str) -> str:
    return rng.choice(VIEWS_OF[pipeline_tag]) if rng.random() < 0.6 else "plain"
