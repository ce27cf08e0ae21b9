"""The pairs that the encoder learns from, each with the reason why it is alike or different."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pyarrow as pa

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.query import query
from peace_pipeline.lake.tables import PAIRS
from peace_pipeline.symmetry.group.perturbations import breakable
from peace_pipeline.symmetry.stored import read_wirings
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
from peace_pipeline.zoo.listing import TRAIN, Listing, listings

POSITIVE, NEGATIVE = "positive", "negative"
FAR_OFF = 0.3
"""Accuracies that differ by more than this make two networks of one task and architecture a negative pair."""

NOISE, DROPPED, DECADES, BROKEN_SHARE = 0.4, 0.05, 2.0, 1.0
"""Largest strength of a random draw: noise relative to each tensor's deviation, share of weights that are dropped,
scaling in decades, share of broken units. Noise and dropping change the function a little."""

_SYMMETRIES = {
    "permutation": (PERMUTE,),
    "scaling": (SCALE,),
    "signs": (SIGN, FLIP),
    "mixing": (MIX, ROTATE, LINEAR, ORTHOGONAL),
}
"""Reason → the actions of which one at least must be a symmetry of the network."""

_RELATED = """
    WITH related AS (
        SELECT a.model_id AS anchor, b.model_id AS other, CASE
            WHEN a.run = b.run THEN 'positive same_run'
            WHEN a.shuffled_labels AND b.shuffled_labels THEN NULL
            WHEN a.recipe = b.recipe THEN 'positive same_recipe'
            WHEN a.task IS NULL AND b.task IS NULL AND a.architecture IS NOT DISTINCT FROM b.architecture
                THEN 'negative instance'
            WHEN a.task IS DISTINCT FROM b.task AND a.architecture IS DISTINCT FROM b.architecture
                THEN 'negative architecture'
            WHEN a.task <> b.task THEN 'negative task'
            WHEN a.task IS NULL OR b.task IS NULL THEN NULL
            WHEN a.shuffled_labels OR b.shuffled_labels THEN 'negative shuffled_labels'
            WHEN a.architecture = b.architecture AND abs(a.accuracy - b.accuracy) > $far THEN 'negative performance'
            ELSE 'positive same_task'
        END AS verdict
        FROM networks a JOIN networks b ON a.model_id <> b.model_id
    )
    SELECT anchor, other, split_part(verdict, ' ', 1) AS relation, split_part(verdict, ' ', 2) AS reason,
           NULL::DOUBLE AS strength
    FROM related WHERE verdict IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY anchor, reason ORDER BY hash(anchor || other)) <= $most
    ORDER BY anchor, other
"""


def pair_table(
    members: Iterable[Listing], wirings: dict[str, Wiring], most_per_reason: int = 512
) -> pa.Table:
    """All pairs among ``members`` that have a reason, and each network's pairs with its own transforms.

    A pair with itself (``anchor`` = ``other``) stands for a transform that is drawn anew whenever it is used,
    up to ``strength``. Networks of one task that differ neither in labels nor far in accuracy are positives,
    so that none of them is ever a false negative.
    """
    members = list(members)
    table = pa.Table.from_pylist([asdict(network) for network in members])
    related = query(_RELATED, {"networks": table}, far=FAR_OFF, most=most_per_reason).cast(PAIRS.schema)
    own = [row for network in members for row in _own_pairs(network.model_id, wirings[network.model_id])]
    return pa.concat_tables([related, pa.Table.from_pylist(own, schema=PAIRS.schema)])


def _own_pairs(model_id: str, wiring: Wiring) -> Iterable[dict[str, object]]:
    pairs: list[tuple[str, str, float | None]] = [
        (POSITIVE, "noise", NOISE),
        (POSITIVE, "weight_dropout", DROPPED),
    ]
    for reason, actions in _SYMMETRIES.items():
        if any(wiring.acting(*actions)):
            pairs.append((POSITIVE, reason, DECADES if reason == "scaling" else None))
    if breakable(wiring.folded):
        pairs.append((NEGATIVE, "broken_twin", BROKEN_SHARE))
    for relation, reason, strength in pairs:
        yield {
            "anchor": model_id,
            "other": model_id,
            "relation": relation,
            "reason": reason,
            "strength": strength,
        }


def write_pairs(lake: Lake) -> pa.Table:
    """Write the pairs of all training runs to the lake and return them."""
    members = [network for network in listings(lake) if network.split == TRAIN]
    wirings: dict[str, Wiring] = {}
    for batch in sorted({network.batch for network in members}):
        wirings |= read_wirings(lake, batch)
    table = pair_table(members, wirings) if members else PAIRS.schema.empty_table()
    write_parquet(table, lake.pairs)
    return table
