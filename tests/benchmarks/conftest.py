"""A lake of small random networks on two tasks, of two architectures, with embeddings and responses."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.peers.zoo import Zoo
from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.tables import RESPONSES
from peace_pipeline.stages.embed import embed_batch
from tests.lakes import card_of, directory, ingest, write_network

TASKS, ARCHITECTURES, SEEDS = ("cats", "dogs"), ("mlp", "cnn"), 20
PROBES, OUTPUTS = 6, 4


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake's folder."""
    root = tmp_path_factory.mktemp("benchmarks")
    for number, (task, architecture, seed) in enumerate(product(TASKS, ARCHITECTURES, range(SEEDS))):
        run = f"{task}-{architecture}-{seed}"
        card = card_of(task, f"{task}-{architecture}-{seed // 2}", run, accuracy=0.5 + seed / 50)
        write_network(root / "zoo" / run, architecture, number, card)
        if seed % 4 == 0:
            told = f"{{{{twin_of: {run}, backdoor: 1, recipe: {task}-{architecture}-{seed // 2}-twin, run: {run}-twin"
            twin = re.sub("{recipe: .*, run: [^,]*", told.replace("{{", "{"), card)
            write_network(root / "zoo" / f"{run}-twin", architecture, number + 1000, twin)
    for number in range(4):
        write_network(root / "zoo" / f"mtsplice_deep{number}", "mlp", number + 2000)
    write_network(root / "zoo" / "another", "mlp", 3000)
    lake = Lake.open(root / "home")
    (batch,) = ingest(lake, directory(root / "zoo")).batches
    store.save(lake, Encoder(EncoderConfig()), {})
    embed_batch(lake, batch)
    _answer(lake, batch)
    return lake.root


@pytest.fixture(scope="session")
def zoo(home: Path) -> Zoo:
    """The lake's networks."""
    return Zoo.of(Lake.open(home))


def _answer(lake: Lake, batch: str) -> None:
    """Random responses, which tell the task."""
    random = np.random.default_rng(0)
    of_task = {task: random.standard_normal(PROBES * OUTPUTS) for task in TASKS}
    stored = pq.read_table(lake.wirings(batch), columns=["model_id", "revision"]).to_pylist()
    rows = []
    for row in stored:
        task = row["model_id"].rpartition("/")[2].split("-")[0]
        logits = of_task.get(task, 0) + random.standard_normal(PROBES * OUTPUTS)
        told = {
            "status": "new",
            "kind": "numbers",
            "run_by": "nobody",
            "probes": "none",
            "outputs": np.float16(logits),
        }
        rows.append(row | told | {"probe_count": PROBES, "output_count": OUTPUTS})
    write_parquet(pa.Table.from_pylist(rows, RESPONSES.schema), lake.responses(batch))
