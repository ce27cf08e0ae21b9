"""Which networks of the index are worth fine-tuning on somebody's examples: what ``peace recommend`` answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from peace_pipeline.index.exploring import TRIES, explore
from peace_pipeline.index.lookup import of_models
from peace_pipeline.index.search import Hit, NothingWasRun, search, vectors, why_nothing
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.responses.answers import NotRun
from peace_pipeline.responses.evidence import Evidence, evidence
from peace_pipeline.responses.examples import Examples
from peace_pipeline.responses.runners.model import CannotRun, Model
from peace_pipeline.responses.running import OFF, Limits, features, ready
from peace_pipeline.responses.standard import NUMBERS
from peace_pipeline.responses.table import taken_by
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import AUTO

FIRST = 4
"""How many of those that have the words best are run first."""
_LOOKED_AT = 64
"""Of those that have the words best, before more are, until enough of them take the examples."""


@dataclass(frozen=True)
class Recommended:
    """A network that was run on the examples, what a linear model makes of its features, which are ``of`` its last
    ``hidden`` layer or its ``outputs``, and what the index knows of it."""

    rank: int
    found: Evidence
    of: str
    network: Hit

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        own = {"rank": self.rank, "model_id": self.network.model_id, "revision": self.network.revision}
        names = ("source", "task", "architecture", "datasets", "accuracy", "license", "parameters", "uri")
        return (
            own | asdict(self.found) | {"of": self.of} | {name: getattr(self.network, name) for name in names}
        )


@dataclass(frozen=True)
class Recommendation:
    """The ``best`` of the networks that were ``run`` on the examples; why others were ``not_run``; how many that may
    take them were ``left`` untried, and of how many it isn't known what they take, as they were ``never_run``; how many
    of those that were tried first have the ``words``; and what a linear model makes of the ``plain`` inputs, where
    networks read them as numbers."""

    best: list[Recommended]
    run: int
    not_run: Mapping[str, str]
    left: int
    never_run: int
    words: int
    plain: Evidence | None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return {
            "best": [each.as_dict() for each in self.best],
            "run": self.run,
            "not_run": [{"model_id": name, "reason": reason} for name, reason in self.not_run.items()],
            "left": self.left,
            "never_run": self.never_run,
            "plain": self.plain and asdict(self.plain),
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
    """The ``k`` networks of the index that make most of labelled examples, by the evidence of a linear model on what
    their last linear layer reads, or where that can't be had on what they answer.

    ``tries`` of those that were run before, that take such examples, and for which ``where`` holds, are run on them,
    within what ``responses`` allow; which ones, the index says: first those that have the words ``text`` best, then
    those near to what did well, or to nothing that was tried. Where none takes them, ``best`` is empty.

    Raises:
        NoIndex: where there is no index.
        NothingWasRun: where no network was run, or ``responses`` are ``never``.
        BadFilter: where ``where`` can't be run.
        ValueError: where ``k`` or ``tries`` is less than 1.
    """
    limits = Limits.of(responses)
    if limits is None:
        raise NothingWasRun(f"{OFF}: no network may be run on the examples")
    if min(k, tries) < 1:
        raise ValueError(f"k={k}, tries={tries}: at least one is asked for")
    names, rows = vectors(lake, where)
    if not names:
        raise NothingWasRun(why_nothing(lake, where=where))
    taken = taken_by(lake)
    if not taken.keys() & set(names):
        raise NothingWasRun(f"none of {len(names):,} networks was run: `peace show MODEL` says why")
    refused = {what: examples.refused_by(what.kind, what.shape) for what in set(taken.values())}
    reasons = {name: why for name in names if name in taken and (why := refused[taken[name]])}
    able = [place for place, name in enumerate(names) if name in taken and name not in reasons]
    first = _with_words(lake, [names[place] for place in able], text, where)
    found: dict[str, Evidence] = {}
    of: dict[str, str] = {}

    def score(place: int) -> float | None:
        name = names[able[place]]
        if progress:
            progress(len(found), min(tries, len(able)), name)
        try:
            found[name], of[name] = tried_on(lake, name, examples, fetcher, limits)
        except (CannotRun, UnusableModel) as error:
            reasons[name] = str(error)
        return found[name].evidence if name in found else None

    tried = explore(rows[able], score, tries, first)
    if progress:
        progress(min(tries, len(able)), min(tries, len(able)))
    order = sorted(found, key=lambda name: -found[name].evidence)[:k]
    told = of_models(lake, order)
    best = [Recommended(rank, found[name], of[name], told[name]) for rank, name in enumerate(order, 1)]
    numbers = examples.numbers if any(taken[name].kind == NUMBERS for name in found) else None
    plain = None if numbers is None else evidence(numbers, examples.labels)
    never_run = sum(name not in taken for name in names)
    return Recommendation(best, len(found), reasons, len(able) - len(tried), never_run, len(first), plain)


def tried_on(
    lake: Lake, name: str, examples: Examples, fetcher: Fetcher | None, limits: Limits
) -> tuple[Evidence, str]:
    """What a network of the lake makes of the examples, and what of it: ``hidden`` or ``outputs``.

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
        values, what = features(begun, examples, network.folder, limits)
        return evidence(values, examples.labels), what


def _with_words(lake: Lake, names: list[str], text: str | None, where: str | None) -> list[int]:
    """The places of those of the named networks that have the words best."""
    if not text:
        return []
    place = {name: at for at, name in enumerate(names)}
    found: list[int] = []
    k = _LOOKED_AT
    while len(found) < min(FIRST, len(names)):
        hits = search(lake, k=k, where=where, text=text)
        found = [place[hit.model_id] for hit in hits if hit.model_id in place][:FIRST]
        if len(hits) < k:
            break
        k *= 8
    return found
