"""Small lakes for tests of the index and of what is stale: an encoder of random weights, batches taken through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.standard import NUMBERS, VERSION
from peace_pipeline.responses.table import SCHEMA, answer_row
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.outcome import Outcome
from peace_pipeline.stages.respond import respond_batch
from tests.lakes import card_of, directory, write_network
from tests.networks import CONFIGS, module_of

SMALL = EncoderConfig(
    width=16, heads=4, rounds=1, token_width=16, transformer_layers=1, attention_heads=2, learned=8
)
ANIMALS = ("cat", "dog", "red panda", "owl")
QUOTED = 'it\'s a "name" 100%\\'
STAGES = {
    "extract": extract_batch,
    "layers": layer_batch,
    "respond": respond_batch,
    "embed": embed_batch,
    "index": update_index,
}


def new_encoder(lake: Lake, seed: int = 0) -> str:
    """Make an encoder of random weights the current one; its version."""
    torch.manual_seed(seed)
    return store.save(lake, Encoder(SMALL), {"seed": seed})


def process(lake: Lake, zoo: Path) -> list[str]:
    """Crawl and bring every new batch into the index; the batches."""
    batches = crawl_zoo(lake, directory(zoo)).batches
    for batch in batches:
        for stage in STAGES.values():
            stage(lake, batch)
    return batches


def answers_of(architecture: str, seed: int, key: str, labels: tuple[str, ...] | None = None) -> Response:
    """What a random network answers to the probes."""
    spec = InputSpec(NUMBERS, tuple(CONFIGS[architecture]["input_shape"]))
    with torch.inference_mode():
        outputs = module_of(architecture, seed, torch.float32)(probes(spec)).numpy()
    return Response(key, NUMBERS, outputs, VERSION, "torch", labels)


def answer(lake: Lake, batch: str, *found: Response) -> None:
    """Embed and index a batch of which just these networks were run."""
    models = pq.read_table(lake.wirings(batch), columns=["model_id", "revision"]).to_pylist()
    told = {each.key: answer_row(each) for each in found}
    written = [
        Outcome(**model, reason=None if model["model_id"] in told else "not here").as_row()
        | told.get(model["model_id"], {})
        for model in models
    ]
    write_parquet(pa.Table.from_pylist(written, schema=SCHEMA), lake.responses(batch))
    embed_batch(lake, batch)
    update_index(lake, batch)


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    """All rows of a table of the index."""
    return lancedb.connect(str(lake.index)).open_table(table).to_arrow().to_pylist()


def keys(lake: Lake) -> list[str]:
    """The models in the index, which are there once each, as are their layers."""
    found = [row["model_id"] for row in rows(lake, "models")]
    assert len(found) == len(set(found)), "a model is in the table twice"
    layers = [(row["model_id"], row["layer"]) for row in rows(lake, "layers")]
    assert len(layers) == len(set(layers)), "a layer is in the table twice"
    assert {model_id for model_id, _ in layers} == set(found)
    outputs = [(row["model_id"], row["place"]) for row in rows(lake, "outputs")]
    assert len(outputs) == len(set(outputs)), "an output is in the table twice"
    assert {model_id for model_id, _ in outputs} <= set(found)
    return sorted(found)


def versions(lake: Lake) -> set[str]:
    """Encoder versions of all rows of the index."""
    return {row["encoder_version"] for table in ("models", "layers", "outputs") for row in rows(lake, table)}


@pytest.fixture
def filled(lake: Lake, zoo: Path) -> Lake:
    """A lake with three indexed networks."""
    new_encoder(lake)
    write_network(zoo / "a", "mlp", 1, card_of("digits"))
    write_network(zoo / "b", "cnn", 2, card_of("animals"))
    write_network(zoo / QUOTED, "mlp", 3, card_of("signals"))
    process(lake, zoo)
    return lake


@pytest.fixture
def answered(filled: Lake) -> Lake:
    """The same lake, of which two networks were run; one says what its outputs are."""
    (batch,) = filled.batches()
    a, c = "directory:zoo/a", f"directory:zoo/{QUOTED}"
    answer(filled, batch, answers_of("mlp", 1, a, ANIMALS), answers_of("mlp", 3, c))
    return filled


@pytest.fixture
def unanswered(filled: Lake) -> Lake:
    """The same lake, of which no network was run."""
    (batch,) = filled.batches()
    answer(filled, batch)
    return filled
