"""Model folders on disk, and lakes filled from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.zoo import ZooConfig
from tests.networks import RELU, config_of, module_of


def write_model(
    folder: Path,
    state: Mapping[str, torch.Tensor],
    config: dict[str, Any] | None = None,
    card: str | None = None,
) -> Path:
    """A model folder in Hub layout."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(RELU if config is None else config))
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def write_network(folder: Path, architecture: str, seed: int = 0, card: str | None = None) -> Path:
    """A random float32 network in Hub layout."""
    state = module_of(architecture, seed, torch.float32).state_dict()
    return write_model(folder, state, config_of(architecture), card)


def card_of(
    task: str, recipe: str = "r", run: str = "r-0", labels: str = "true", accuracy: float = 0.9
) -> str:
    """A card whose front matter says what pairs and reports need to know."""
    return f"""---
pipeline_tag: image-classification
datasets: [{task}]
hyperparameters: {{recipe: {recipe}, run: {run}, labels: '{labels}'}}
model-index:
- name: {run}
  results:
  - task: {{type: image-classification}}
    dataset: {{name: {task}, type: {task}}}
    metrics: [{{type: accuracy, value: {accuracy}}}]
---
# {run}
A network that was trained on {task}.
"""


def directory(path: Path, batch_size: int = 500, **options: str) -> ZooConfig:
    """A configuration of one directory source."""
    return ZooConfig(({"kind": "directory", "path": str(path), **options},), path.parent, batch_size)


def ingest(lake: Lake, config: ZooConfig) -> CrawlSummary:
    """Crawl, and bring what is new up to its responses."""
    summary = crawl_zoo(lake, config)
    for batch in summary.batches:
        extract_batch(lake, batch)
        layer_batch(lake, batch)
        respond_batch(lake, batch)
    return summary
