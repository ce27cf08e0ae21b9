"""A stand-in Hub of three small models, and what tests do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.outcome import skipped_models
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness
from tests.lakes import card_of
from tests.standin_hub import StandinHub

CONFIG = json.dumps({"model_type": "mlp", "hidden_act": "relu"}).encode()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def weights(seed: int) -> bytes:
    """A small MLP as safetensors."""
    generator = torch.Generator().manual_seed(seed)
    return save(
        {f"{i}.weight": torch.randn(4, 4, generator=generator) for i in range(2)}, metadata={"format": "pt"}
    )


def files(seed: int = 0, **others: bytes) -> dict[str, bytes | Path]:
    """The files of a model repository."""
    return {
        "config.json": CONFIG,
        "model.safetensors": weights(seed),
        "README.md": card_of("cats").encode(),
        ".gitattributes": b"",
        **others,
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """A Hub of three models; retries follow at once."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(politeness, "_wait", lambda state: 0.01)
    monkeypatch.setattr(politeness.RateLimit, "pause", lambda self, seconds: None)
    with StandinHub(tmp_path / "hub") as hub:
        for number in range(3):
            hub.push(f"org/m{number}", files(number), at=LONG_AGO + timedelta(days=number))
        yield hub


def config(hub: StandinHub, batch_size: int = 500, **options: Any) -> ZooConfig:
    table = {"kind": "huggingface", "endpoint": hub.endpoint, "requests_per_5_minutes": 10**7, **options}
    return ZooConfig((table,), Path("/"), batch_size)


def crawl(lake: Lake, hub: StandinHub, **options: Any) -> CrawlSummary:
    hub.forget()
    return crawl_zoo(lake, config(hub, **options))


def ingest(lake: Lake, hub: StandinHub, **options: Any) -> list[dict[str, str]]:
    """Crawl and bring what was found up to its responses; returns what was skipped on the way."""
    settings = config(hub, **options)
    skipped = []
    for batch in crawl_zoo(lake, settings).batches:
        fetcher = Fetcher(settings.build(lake))
        extract_batch(lake, batch, fetcher)
        layer_batch(lake, batch, fetcher)
        respond_batch(lake, batch, fetcher)
        skipped += skipped_models(lake, batch)
    return skipped


def reasons(summary: CrawlSummary) -> dict[str, str]:
    return {row["model_id"]: row["reason"] for row in summary.skipped}
