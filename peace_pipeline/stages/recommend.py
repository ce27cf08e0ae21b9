"""Which networks of the index are worth fine-tuning on somebody's examples: what ``peace recommend`` answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peace_pipeline.index.exploring import explore
from peace_pipeline.index.lookup import of_models
from peace_pipeline.index.search import Hit, NothingWasRun, search, vectors, was_run
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.responses.answers import NotRun
from peace_pipeline.responses.evidence import Evidence, evidence
from peace_pipeline.responses.examples import Examples
from peace_pipeline.responses.runners.model import CannotRun, Model
from peace_pipeline.responses.running import OFF, Limits, features, ready
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import AUTO

TRIES = 32
"""Networks that are run on the examples, unless said otherwise."""
FIRST = 4
"""How many of those that have the words best are run first."""


@dataclass(frozen=True)
class Recommended:
    """A network that was run on the examples: the ``evidence`` of a linear model on its features, and of how many
    examples that model knows the label when it learns from the others; and what the index knows of it."""

    rank: int
    evidence: float
    linear: float
    network: Hit

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        own = {"rank": self.rank, "model_id": self.network.model_id, "revision": self.network.revision}
        names = ("source", "task", "architecture", "datasets", "accuracy", "license", "parameters", "uri")
        told = {name: getattr(self.network, name) for name in names}
        return own | {"evidence": self.evidence, "linear": self.linear} | told


@dataclass(frozen=True)
class Recommendation:
    """The ``best`` of the networks that were ``run`` on the examples; why others could ``not_run``; how many of the
    index that have answers are ``left`` untried; and what a linear model makes of the ``plain`` inputs, where they are
    numbers."""

    best: list[Recommended]
    run: int
    not_run: Mapping[str, str]
    left: int
    plain: Evidence | None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        plain = self.plain and {"evidence": self.plain.logme, "linear": self.plain.accuracy}
        return {
            "best": [each.as_dict() for each in self.best],
            "run": self.run,
            "not_run": [{"model_id": name, "reason": reason} for name, reason in self.not_run.items()],
            "left": self.left,
            "plain": plain,
        }


def recommend(
    lake: Lake,
    examples: Examples,
    fetcher: Fetcher | None = None,
    *,
    k: int = 10,
    tries: int = TRIES,
    where: str | None = None,
    text: str | None = None,
    responses: str = AUTO,
    progress: Progress | None = None,
) -> Recommendation:
    """The ``k`` networks of the index that make most of labelled examples: the evidence (LogME, You et al. 2021) of a
    linear model on what their last linear layer reads.

    ``tries`` of those that have answers, and for which ``where`` holds, are run on the examples, within what
    ``responses`` allow; which ones, the index says: first those that have the words ``text`` best, then those near to
    what did well, or to nothing that was tried.

    Raises:
        NoIndex: where there is no index.
        NothingWasRun: where no network has answers, or ``responses`` are ``never``.
        BadFilter: where ``where`` can't be run.
        ValueError: where ``k`` or ``tries`` is less than 1.
    """
    limits = Limits.of(responses)
    if limits is None:
        raise NothingWasRun(OFF)
    if min(k, tries) < 1:
        raise ValueError(f"k={k}, tries={tries}: at least one is asked for")
    names, rows = vectors(lake, where)
    found: dict[str, Evidence] = {}
    reasons: dict[str, str] = {}

    def score(place: int) -> float | None:
        name = names[place]
        try:
            found[name] = tried_on(lake, name, examples, fetcher, limits)
        except (CannotRun, UnusableModel) as error:
            reasons[name] = str(error)
        if progress:
            progress(min(len(found), tries), tries, name)
        return found[name].logme if name in found else None

    explore(rows, score, tries, _first(lake, names, text, where))
    order = sorted(found, key=lambda name: -found[name].logme)[:k]
    told = of_models(lake, order)
    best = [
        Recommended(rank, found[name].logme, found[name].accuracy, told[name])
        for rank, name in enumerate(order, 1)
    ]
    plain = None if examples.numbers is None else evidence(examples.numbers, examples.labels)
    return Recommendation(best, len(found), reasons, len(names) - len(found) - len(reasons), plain)


def tried_on(lake: Lake, name: str, examples: Examples, fetcher: Fetcher | None, limits: Limits) -> Evidence:
    """What a network of the lake makes of the examples.

    Raises:
        UnusableModel: where it can't be had or read.
        CannotRun: where it can't be run, or doesn't take them.
    """
    with model_errors(), open_network(lake, name, fetcher) as network:
        if network.folder is None:
            raise CannotRun("its folder is not known")
        model = Model(name, network.checkpoint, network.config, network.folder)
        begun = ready(model, limits)
        if isinstance(begun, NotRun):
            raise CannotRun(begun.reason)
        return evidence(features(begun, examples, network.folder, limits), examples.labels)


def _first(lake: Lake, names: list[str], text: str | None, where: str | None) -> list[int]:
    """The places of those of the named networks that have the words best."""
    if not text:
        return []
    place = {name: at for at, name in enumerate(names)}
    hits = search(lake, k=FIRST, where=was_run(where), text=text)
    return [place[hit.model_id] for hit in hits if hit.model_id in place]
