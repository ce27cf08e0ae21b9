"""Whether a network is a copy of one in the index, was made of one, or is new to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peace_pipeline.comparison.measuring import UNRELATED
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.comparison.verdict import VERDICTS, judge, opened
from peace_pipeline.index.lookup import Asked, ask
from peace_pipeline.index.search import search
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import NEVER

UNREAD = "unread"
"""What stands in the place of a verdict on a network that can't be read."""


@dataclass(frozen=True)
class Relative:
    """A network of the index and the ``verdict`` on it, with the ``reason``; ``similarity`` of matched layers, and the
    ``relation`` of a derived one, as :func:`compare` says them."""

    model_id: str
    verdict: str
    reason: str
    relation: str | None = None
    similarity: float | None = None


def relatives(
    lake: Lake, name: str, fetcher: Fetcher | None = None, *, k: int = 20, progress: Progress | None = None
) -> list[Relative]:
    """Verdicts on a network, named as :func:`compare` takes it, beside each of the ``k`` of the index that are nearest
    to it by weights, and of the ``k`` nearest with as many parameters; the closest first. One that can't be read gives
    its reason and does not stop the others.

    Raises:
        NoIndex: where there is no index.
        NoEncoder, UnknownQuery: where the network has to be embedded, and there is no encoder or it can't be.
        UnreadableCheckpoint: where it can't be compared.
    """
    asked = ask(lake, name, fetcher, by="weights", responses=NEVER)
    found = []
    with opened(lake, name, fetcher) as network:
        near = candidates(lake, asked, network.logical.parameters, k)
        for done, other in enumerate(near):
            if progress:
                progress(done, len(near), other)
            found.append(_relative(lake, network, other, fetcher))
        if progress:
            progress(len(near), len(near))
    return sorted(found, key=_closeness)


def related(found: Iterable[Relative]) -> list[Relative]:
    """Those that have to do with the network."""
    return [each for each in found if each.verdict not in (UNRELATED, UNREAD)]


def candidates(lake: Lake, asked: Asked, parameters: int, k: int) -> list[str]:
    """The model ids of those that a network is compared with: the ``k`` nearest by weights, and the ``k`` nearest with
    as many ``parameters``, among which what was changed much is found more often."""
    near = [
        hit.model_id
        for where in (None, f"parameters = {parameters}")
        for hit in search(lake, asked.vector, by="weights", k=k, where=where, without=asked.model_id)
    ]
    return list(dict.fromkeys(near))


def _relative(lake: Lake, network: OpenNetwork, other: str, fetcher: Fetcher | None) -> Relative:
    try:
        with model_errors(), opened(lake, other, fetcher) as second:
            said = judge(network, second, Thresholds.of(lake))
    except UnusableModel as error:
        return Relative(other, UNREAD, str(error))
    return Relative(other, said["verdict"], said["reason"], said.get("relation"), said["similarity"])


def _closeness(relative: Relative) -> tuple[int, float]:
    return (*VERDICTS, UNREAD).index(relative.verdict), -(relative.similarity or 0.0)
