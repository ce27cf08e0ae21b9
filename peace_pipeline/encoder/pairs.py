"""The pairs that the encoder learns from, each with the reason why it is alike or different.

Pairs of two networks are drawn, not joined: every anchor meets members of the groups that it is in (its run, recipe,
task, architecture, all networks), as many as it may have pairs, so what they cost grows with the networks alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.encoder.pair_rule import NO_REASON, Attributes, reasons
from peace_pipeline.encoder.reasons import (
    BROKEN_TWIN,
    NEGATIVE,
    POSITIVE,
    REASONS,
    RELATIONS,
)
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.lake.tables import PAIRS
from peace_pipeline.symmetry.group.perturbations import breakable
from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    LINEAR,
    MIX,
    ORTHOGONAL,
    PERMUTE,
    ROTATE,
    SCALE,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.zoo.listing import Listing

DECADES = 2.0
"""Largest strength of a random scaling."""

_SYMMETRIES = {
    "permutation": (PERMUTE,),
    "scaling": (SCALE,),
    "signs": (SIGN, FLIP),
    "mixing": (MIX, ROTATE, LINEAR, ORTHOGONAL),
}
"""Reason → the actions of which one at least must be a symmetry of the network."""

_TRIES = 4
"""How many networks of each of its groups an anchor meets for each pair that it may have; of a small group all."""
_CANDIDATES = 500_000
_SETTINGS = b"settings"


def pairs_schema(settings: PairSettings) -> pa.Schema:
    """The schema of a pair table that says by which settings it was drawn."""
    return PAIRS.schema.with_metadata({_SETTINGS: settings.model_dump_json()})


def read_pair_settings(lake: Lake) -> PairSettings:
    """The settings by which the lake's pairs were drawn."""
    stored = (pq.read_schema(lake.pairs).metadata or {}).get(_SETTINGS)
    return PairSettings.model_validate_json(stored) if stored else PairSettings()


@dataclass(frozen=True)
class Partners:
    """Positives of numbered networks: those of network i are ``others[starts[i] : starts[i + 1]]``, in order."""

    starts: np.ndarray
    others: np.ndarray

    @classmethod
    def read(cls, lake: Lake, keys: Sequence[str]) -> Partners:
        """What the lake's pairs list among ``keys``, numbered as they come."""
        numbered = pa.table(
            {"key": pa.array(keys, pa.string()), "number": np.arange(len(keys), dtype=np.int32)}
        )
        table = query(_PARTNERS, {"numbered": numbered}, pairs=lake.pairs, positive=POSITIVE)
        anchors, others = (table[name].to_numpy() for name in ("anchor", "other"))
        return cls(np.searchsorted(anchors, np.arange(len(keys) + 1)), others)

    def of(self, number: int) -> np.ndarray:
        """The partners of a network."""
        return self.others[self.starts[number] : self.starts[number + 1]]


_PARTNERS = """
    SELECT a.number AS anchor, b.number AS other
    FROM read_parquet($pairs) JOIN numbered a ON anchor = a.key JOIN numbered b ON other = b.key
    WHERE relation = $positive AND anchor <> other
    ORDER BY ALL
"""


def pairs_between(members: Sequence[Listing], settings: PairSettings) -> Iterator[pa.Table]:
    """Pairs of two of the ``members``: of each anchor at most ``settings.pairs`` for a reason, drawn at random."""
    own, names = Attributes.of(members), pa.array([one.model_id for one in members], pa.string())
    generator = np.random.default_rng(settings.seed)
    met = _TRIES * settings.pairs
    everybody = np.zeros(len(members), np.int32)
    groups = [_Groups(key) for key in (own.run, own.recipe, own.task, own.architecture, everybody)]
    step = max(1, _CANDIDATES // (len(groups) * min(met, max(1, len(members)))))
    for start in range(0, len(members), step):
        anchors = np.arange(start, min(start + step, len(members)))
        places = [anchors[:, None] * len(members) + group.draw(anchors, met, generator) for group in groups]
        anchor, other = np.divmod(
            np.unique(np.concatenate([place.ravel() for place in places])), len(members)
        )
        reason = reasons(own.at(anchor), own.at(other), settings.far_off, settings.left_out)
        counted = np.flatnonzero((reason != NO_REASON) & (anchor != other))
        kept = counted[_capped(anchor[counted] * len(REASONS) + reason[counted], settings.pairs, generator)]
        yield _table(names.take(anchor[kept]), names.take(other[kept]), reason[kept])


class _Groups:
    """Networks in groups by a ``key`` (networks,)."""

    def __init__(self, key: np.ndarray) -> None:
        self._order = key.argsort(kind="stable")
        ordered = key[self._order]
        self._start = np.searchsorted(ordered, key)
        self._size = np.searchsorted(ordered, key, "right") - self._start

    def draw(self, anchors: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
        """Members (anchors, ≤ most) of each anchor's group: all of a small one, else as many at random; may repeat."""
        size = self._size[anchors][:, None]
        place = np.arange(min(most, size.max()))
        place = np.where(size > most, generator.integers(0, size, (len(anchors), len(place))), place)
        return self._order[self._start[anchors][:, None] + np.minimum(place, size - 1)]


def _capped(group: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Places of at most ``most`` members of each ``group`` (rows,), at random, in order."""
    shuffled = generator.permutation(len(group))
    order = shuffled[group[shuffled].argsort(kind="stable")]
    ordered = group[order]
    rank = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return np.sort(order[rank < most])


def _table(anchor: pa.Array, other: pa.Array, reason: np.ndarray) -> pa.Table:
    numbers = pa.array(reason)
    relation = pa.array(list(RELATIONS.values())).take(numbers)
    columns = [anchor, other, relation, pa.array(REASONS).take(numbers), pa.nulls(len(anchor), pa.float64())]
    return pa.table(columns, schema=PAIRS.schema)


def pairs_with_itself(model_id: str, wiring: Wiring, settings: PairSettings) -> Iterator[dict[str, object]]:
    """A network's pairs (``anchor`` = ``other``) with its own transforms, drawn anew when used, up to ``strength``.

    Symmetries that are assumed count as well: a positive pair is something to learn from, no claim about a function.
    """
    pairs: list[tuple[str, str, float | None]] = [
        (POSITIVE, "noise", settings.noise),
        (POSITIVE, "weight_dropout", settings.weight_dropout),
    ]
    for reason, actions in _SYMMETRIES.items():
        if any(wiring.acting(*actions)):
            pairs.append((POSITIVE, reason, DECADES if reason == "scaling" else None))
    if breakable(wiring.folded):
        pairs.append((NEGATIVE, BROKEN_TWIN, settings.broken))
    for relation, reason, strength in pairs:
        if reason in settings.left_out:
            continue
        yield {
            "anchor": model_id,
            "other": model_id,
            "relation": relation,
            "reason": reason,
            "strength": strength,
        }
