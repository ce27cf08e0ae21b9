"""What the provenance report found: every pair with its measurements, and the figures that follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from peace_pipeline.comparison.measuring import DERIVED, UNRELATED, Measured
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.comparison.verdict import IDENTICAL, VERDICTS
from peace_pipeline.zoo.listing import TEST, TRAIN


@dataclass(frozen=True)
class Judged:
    """A pair without its weights, with what was measured: ``plain`` is the cosine of all values in the order in which
    they are stored."""

    kind: str
    disguised: bool
    truth: str
    split: str
    architecture: str
    measured: Measured | None
    plain: float
    relation: str | None = None
    found_relation: str | None = None

    def verdict(self, thresholds: Thresholds) -> str:
        """What ``peace compare`` says."""
        if self.measured is None:
            return IDENTICAL
        return replace(self.measured, tolerance=thresholds.tolerance).verdict(thresholds)


@dataclass(frozen=True)
class Results:
    """All pairs, drawn from at most ``side`` networks of each split, and the thresholds that those of training runs
    gave."""

    thresholds: Thresholds
    seed: int
    side: int
    judged: Sequence[Judged]

    @property
    def test(self) -> list[Judged]:
        """Pairs of test runs."""
        return [each for each in self.judged if each.split == TEST]

    def errors(self, judged: Iterable[Judged]) -> float:
        """Share of wrong verdicts."""
        return float(np.mean([each.verdict(self.thresholds) != each.truth for each in judged]))

    def confusion(self) -> dict[str, dict[str, int]]:
        """Truth → verdict → number of test pairs."""
        counted = {truth: dict.fromkeys(VERDICTS, 0) for truth in VERDICTS}
        for each in self.test:
            counted[each.truth][each.verdict(self.thresholds)] += 1
        return counted

    def kinds(self) -> dict[tuple[str, bool], list[Judged]]:
        """Test pairs by kind and disguise."""
        found: dict[tuple[str, bool], list[Judged]] = {}
        for each in self.test:
            found.setdefault((each.kind, each.disguised), []).append(each)
        return found

    def plain_errors(self, disguised: bool) -> float:
        """Share of derived and unrelated test pairs that a threshold on the cosine of stored values gets wrong: the
        one that is best on training pairs that are not disguised."""
        train = [each for each in self.judged if each.split == TRAIN and not each.disguised]
        unrelated, derived = (
            [e.plain for e in train if e.truth == wanted] for wanted in (UNRELATED, DERIVED)
        )
        bound = cut(unrelated, derived)
        wrong = [
            (each.plain > bound) != (each.truth == DERIVED)
            for each in self.test
            if each.truth in (DERIVED, UNRELATED) and each.disguised == disguised
        ]
        return float(np.mean(wrong))

    def figures(self) -> dict[str, float]:
        """All figures, flat."""
        flat = {
            "pairs": float(len(self.judged)),
            "test_pairs": float(len(self.test)),
            "tolerance": self.thresholds.tolerance,
            "derived": self.thresholds.derived,
            "seed": float(self.seed),
            "error": self.errors(self.test),
            "plain_cosine/error": self.plain_errors(False),
            "plain_cosine/error_disguised": self.plain_errors(True),
        }
        for (kind, is_disguised), judged in self.kinds().items():
            flat[f"error/{_slug(kind, is_disguised)}"] = self.errors(judged)
        for truth, row in self.confusion().items():
            flat |= {f"confusion/{truth}/{verdict}": float(count) for verdict, count in row.items()}
        return flat


def _slug(kind: str, is_disguised: bool) -> str:
    return kind.replace(" ", "_").replace("'", "").replace("%", "") + ("_disguised" if is_disguised else "")


def cut(low: Sequence[float], high: Sequence[float]) -> float:
    """The value that best parts two samples, by the mean of both error rates; in the middle of the widest gap among
    the best."""
    values = np.unique([*low, *high])
    places = (values[:-1] + values[1:]) / 2
    errors = [np.mean(np.array(low) > place) + np.mean(np.array(high) <= place) for place in places]
    best = np.isclose(errors, np.min(errors))
    return float(places[best][np.argmax(np.diff(values)[best])])
