"""Which networks of the index another is a copy of, or was made of: what ``peace compare`` says of one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peace_pipeline.comparison.measuring import UNRELATED
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.comparison.verdict import IDENTICAL, VERDICTS, judge, opened
from peace_pipeline.index.lookup import Asked, ask
from peace_pipeline.index.search import open_vectors, search
from peace_pipeline.index.tables import MODELS, connect
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import weight_files
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.current import newest_record
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.folders import is_place
from peace_pipeline.zoo.source import NEVER, LocalFiles, local_folder

NEAREST, AS_LARGE = 20, 5
"""How many of the nearest are compared; how many times as many of those with as many parameters."""
UNREAD = "unread"
"""What stands in the place of a verdict on a network that can't be read."""


@dataclass(frozen=True)
class Relative:
    """A network of the index and the ``verdict`` on it with its ``reason``, the ``relation`` of a derived one and which
    was ``made`` of the other (A the network that was asked, B this one), the ``similarity`` of matched layers, what the
    verdict ``assumes`` and whether it is ``clear``, as :func:`compare` says them."""

    model_id: str
    verdict: str
    reason: str
    relation: str | None = None
    similarity: float | None = None
    assumes: Sequence[str] = field(default=())
    clear: bool = True
    made: str | None = None


@dataclass(frozen=True)
class Relatives:
    """``found`` are the networks that one was compared with, the closest first; so many with as many parameters are
    ``left``."""

    found: Sequence[Relative]
    left: int

    @property
    def related(self) -> list[Relative]:
        """Those that surely have to do with the network."""
        return [each for each in self.found if each.verdict not in (UNRELATED, UNREAD) and each.clear]

    @property
    def doubtful(self) -> list[Relative]:
        """Those that may, or were trained apart on the same data."""
        return [each for each in self.found if not each.clear]

    @property
    def unread(self) -> list[Relative]:
        """Those that couldn't be read."""
        return [each for each in self.found if each.verdict == UNREAD]


def relatives(
    lake: Lake,
    name: str,
    fetcher: Fetcher | None = None,
    *,
    k: int = NEAREST,
    progress: Progress | None = None,
) -> Relatives:
    """Verdicts on a network, named as :func:`compare` takes it, beside others of the index: the ``k`` nearest by
    weights, and the ``5 k`` nearest with as many parameters. All of each is read, from its source where it is not on
    this machine; one that can't be read gives its reason and does not stop the others.

    Raises:
        NoIndex: where there is no index.
        UnreadableCheckpoint: where the network can't be read, or only in part.
        NoEncoder, UnknownQuery, NoResponses: where it has to be embedded, and can't be.
    """
    open_vectors(lake, "weights")  # else a network would be fetched for nothing
    thresholds, found = Thresholds.of(lake), []
    with opened(lake, name, fetcher) as network:
        asked = ask(lake, name, fetcher, by="weights", responses=NEVER)
        near, left = candidates(lake, asked, network.logical.parameters, k)
        for done, other in enumerate(near):
            if progress:
                progress(done, len(near), other)
            found.append(_relative(lake, network, other, fetcher, thresholds))
        if progress:
            progress(len(near), len(near))
    others = [
        each for each in found if each.verdict != IDENTICAL or not _is_file_of(lake, name, each.model_id)
    ]
    return Relatives(sorted(others, key=_closeness), left)


def candidates(lake: Lake, asked: Asked, parameters: int, k: int) -> tuple[list[str], int]:
    """The model ids of those that a network is compared with: the ``k`` nearest by weights, and the ``5 k`` nearest
    with as many ``parameters``, among which what was changed much is found; and how many of the latter are left."""
    as_large = f"parameters = {parameters}"
    near, alike = (
        [
            hit.model_id
            for hit in search(lake, asked.vector, by="weights", k=most, where=where, without=asked.model_id)
        ]
        for most, where in ((k, None), (AS_LARGE * k, as_large))
    )
    there = connect(lake).open_table(MODELS.name).count_rows(as_large) - (asked.model_id is not None)
    return list(dict.fromkeys([*near, *alike])), max(0, there - len(alike))


def _relative(
    lake: Lake, network: OpenNetwork, other: str, fetcher: Fetcher | None, thresholds: Thresholds
) -> Relative:
    try:
        with model_errors(), opened(lake, other, fetcher) as second:
            said = judge(network, second, thresholds)
    except UnusableModel as error:
        return Relative(other, UNREAD, str(error))
    return Relative(
        other,
        said["verdict"],
        said["reason"],
        said.get("relation"),
        said["similarity"],
        said.get("assumes", ()),
        said.get("clear", True),
        said.get("made"),
    )


def _is_file_of(lake: Lake, name: str, model_id: str) -> bool:
    """Whether a path names the very files of a model of the lake."""
    record = newest_record(lake, model_id)
    if record is None or not is_place(name) or not record.uri.startswith(LocalFiles.origin):
        return False
    own = {(local_folder(record) / file.path).resolve() for file in record.files}
    return own >= {path.resolve() for path in weight_files(Path(name).expanduser())}


def _closeness(relative: Relative) -> tuple[int, bool, float, int, float]:
    """Of relatives that are about as near the one of which less is assumed comes first."""
    similarity = relative.similarity or 0.0
    order = (*VERDICTS, UNREAD).index(relative.verdict)
    return order, not relative.clear, -round(similarity, 2), len(relative.assumes), -similarity
