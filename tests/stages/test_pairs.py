"""The table of pairs: what is written of which networks, batch by batch, and by which settings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from peace_pipeline.encoder.members import training_members
from peace_pipeline.encoder.pairs import read_pair_settings
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import PAIRS
from peace_pipeline.lake.violations import violations
from peace_pipeline.stages.pairs import write_pairs
from tests.lakes import card_of, directory, ingest, write_network


def test_networks_of_training_runs_in_all_batches_have_their_pairs(lake: Lake, zoo: Path) -> None:
    for i in range(20):
        card = card_of(("digits", "animals")[i % 2], f"r{i % 4}", f"run-{i}")
        write_network(zoo / f"m{i:02}", ("mlp", "cnn")[i % 2], i, card)
    assert len(ingest(lake, directory(zoo, batch_size=7)).batches) == 3
    settings = PairSettings(noise=0.2)
    counts = write_pairs(lake, settings)
    rows = pq.read_table(lake.pairs).to_pylist()
    assert counts == Counter(row["reason"] for row in rows)
    assert violations(PAIRS, lake.pairs) == []
    members = {one.model_id: one for one in training_members(lake, settings)}
    assert 0 < len(members) < 20
    assert {row["anchor"] for row in rows} == members.keys()
    itself = Counter(row["reason"] for row in rows if row["anchor"] == row["other"])
    assert itself["noise"] == itself["permutation"] == itself["broken_twin"] == len(members)
    assert {row["strength"] for row in rows if row["reason"] == "noise"} == {0.2}
    assert {"same_recipe", "architecture"} <= counts.keys()
    assert read_pair_settings(lake) == settings


def test_a_lake_without_networks_has_an_empty_table(lake: Lake) -> None:
    assert write_pairs(lake) == Counter()
    assert pq.read_table(lake.pairs).schema.equals(PAIRS.schema)
    assert pq.read_table(lake.pairs).num_rows == 0
