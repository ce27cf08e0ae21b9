"""A network that can't be embedded is one skipped record: its batch, the index and a retraining go on without it."""

from __future__ import annotations

from pathlib import Path

import lancedb
import pyarrow.parquet as pq
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder, EncoderConfig
from peace_pipeline.evaluation.population import is_embedded
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import EMBEDDING_OUTCOMES, NETWORK_EMBEDDINGS
from peace_pipeline.lake.violations import violations
from peace_pipeline.stages.embed import embed_batch, unembedded_models
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.outcome import BatchOutcome
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER
from peace_pipeline.zoo.listing import sample_listings
from tests.lakes import directory, ingest, write_model, write_network
from tests.networks import module_of

HUGE, LINEAR = "directory:zoo/huge", "directory:zoo/linear"


def new_encoder(lake: Lake, seed: int) -> str:
    torch.manual_seed(seed)
    small = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, attention_heads=2, learned=8)
    return store.save(lake, Encoder(small), {"seed": seed})


@pytest.fixture
def batch(lake: Lake, zoo: Path) -> str:
    """Two sound networks, one whose vector overflows, and one on which an SVD fails, beside others like them."""
    for number in range(2):
        write_network(zoo / f"sound{number}", "mlp", number)
        write_linear(zoo / f"linear{number}", number, 1.0)
    state = module_of("mlp", 5, torch.float32).state_dict()
    write_model(zoo / "huge", {name: value * 1e30 for name, value in state.items()})
    write_linear(zoo / "linear", 9, 1e20)
    (batch,) = ingest(lake, directory(zoo)).batches
    return batch


def write_linear(folder: Path, seed: int, scale: float) -> None:
    """A chain of layers between which nothing acts: its canonical form is by SVD."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (9, 5), "0.bias": (9,), "1.weight": (7, 9), "1.bias": (7,), "2.weight": (4, 7)}
    state = {name: scale * torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    write_model(folder, state, {"hidden_act": "linear", "dropout": 0})


def indexed(lake: Lake) -> set[str]:
    return {
        row["model_id"] for row in lancedb.connect(lake.index).open_table("models").to_arrow().to_pylist()
    }


def test_the_others_are_embedded_and_indexed(lake: Lake, batch: str) -> None:
    first = new_encoder(lake, 0)
    assert embed_batch(lake, batch) == (first, BatchOutcome(4, 2))
    reasons = {row["model_id"]: row["reason"] for row in unembedded_models(lake, first, batch)}
    assert reasons.keys() == {HUGE, LINEAR}
    assert "not finite" in reasons[HUGE]
    assert "linear algebra fails on its weights (linalg.svd)" in reasons[LINEAR]
    update_index(lake, batch)
    assert len(indexed(lake)) == 4
    assert indexed(lake).isdisjoint(reasons)
    assert stale_batches(lake) == {}
    for table in (EMBEDDING_OUTCOMES, NETWORK_EMBEDDINGS):
        path = table.under(lake.root, batch=batch, encoder_version=first)
        assert violations(table, path) == []


def test_what_is_assumed_of_a_network_is_kept_with_its_wiring_and_its_vector(lake: Lake, batch: str) -> None:
    version = new_encoder(lake, 0)
    embed_batch(lake, batch)
    for path in (lake.wirings(batch), lake.embeddings("network", version, batch)):
        rows = pq.read_table(path, columns=["model_id", "assumes"]).to_pylist()
        assumed = {row["model_id"].rpartition("/")[2]: row["assumes"] for row in rows}
        assert (assumed["sound0"], assumed["linear0"]) == ([], [ONE_AFTER_THE_OTHER])


def test_after_a_retraining_the_index_serves_the_new_encoder(lake: Lake, batch: str) -> None:
    new_encoder(lake, 0)
    embed_batch(lake, batch)
    update_index(lake, batch)
    second = new_encoder(lake, 1)
    assert stale_batches(lake) == {batch: "embed"}
    embed_batch(lake, batch)
    update_index(lake, batch)
    rows = lancedb.connect(lake.index).open_table("models").to_arrow().to_pylist()
    assert {row["encoder_version"] for row in rows} == {second}
    assert stale_batches(lake) == {}


def test_reports_leave_it_out(lake: Lake, batch: str) -> None:
    version = new_encoder(lake, 0)
    everything = {
        listing.model_id for listing in sample_listings(lake, 9, seed=0, where=is_embedded(lake, version))
    }
    embed_batch(lake, batch)
    left = {
        listing.model_id for listing in sample_listings(lake, 9, seed=0, where=is_embedded(lake, version))
    }
    assert everything - left == {HUGE, LINEAR}
