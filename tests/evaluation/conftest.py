"""Small networks and lakes to evaluate on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from peace_pipeline.evaluation.population import Listed
from peace_pipeline.lake import Lake
from peace_pipeline.responses.answers import Response
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.listing import Listing
from peace_pipeline.zoo.trained import PLANS
from peace_pipeline.zoo.trained.demo import DEMO
from tests.lakes import ingest
from tests.networks import folded_tensors

RELU = {"hidden_act": "relu"}
CARD = """---
pipeline_tag: image-classification
datasets: [{dataset}]
tags: [small-zoo, {architecture}]
hyperparameters: {{recipe: {dataset}-{architecture}, run: {run}, labels: '{labels}'}}
model-index:
- name: {run}
  results:
  - task: {{type: image-classification}}
    dataset: {{name: pictures of {dataset}, type: {dataset}}}
    metrics: [{{type: accuracy, value: 0.9}}]
---
# {run}
A network that sorts pictures of {dataset}s. Tagged {architecture}, seed {seed}.
"""


def mlp(scale: float = 1.0) -> nn.Module:
    """A chain of three linear layers."""
    sizes = (12, 10, 8, 4)
    return _scaled(nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes))), scale)


def cnn(scale: float = 1.0) -> nn.Module:
    """Two convolutions and a classifier on 4 positions."""
    layers = {
        "features": nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)),
        "classifier": nn.Linear(32, 4),
    }
    return _scaled(nn.ModuleDict(layers), scale)


MODULES: dict[str, Callable[[float], nn.Module]] = {"mlp": mlp, "cnn": cnn}


def _scaled(module: nn.Module, scale: float) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale)
    return module


def as_input(key: str, module: nn.Module) -> Network:
    """A module as the encoder takes it."""
    state = {name: value.detach().clone() for name, value in module.state_dict().items()}
    infos = [TensorInfo(name, tuple(value.shape), "float32") for name, value in state.items()]
    wiring = infer_wiring(infos, RELU)
    return Network(key, wiring, folded_tensors(wiring, state.__getitem__))


def networks_of(architecture: str, count: int, seed: int = 0) -> list[Network]:
    """Random networks of an architecture."""
    torch.manual_seed(seed)
    return [as_input(f"{architecture}-{i}", MODULES[architecture](1.0)) for i in range(count)]


def listed(network: Network, response: Response | None = None, **fields: Any) -> Listed:
    """A network with a row of the catalogue; ``fields`` are those that matter."""
    record: dict[str, Any] = {
        "model_id": network.key, "revision": "r", "batch": "b", "source": "directory", "architecture": "mlp",
        "task": "sorting", "recipe": None, "run": network.key, "shuffled_labels": False, "accuracy": None,
        "method": network.wiring.method, "parameters": 1, "card": "",
    }  # fmt: skip
    return Listed(Listing(**record | fields), network, response)


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of random networks: two architectures, two tasks told apart by the scale of the weights."""
    root = tmp_path_factory.mktemp("evaluation")
    torch.manual_seed(0)
    for architecture, module in MODULES.items():
        for dataset, scale in (("cat", 0.7), ("dog", 1.4)):
            for seed in range(15):
                _write(root / "zoo", architecture, dataset, seed, module(scale))
    lake = Lake.open(root / "home")
    config = ZooConfig(({"kind": "directory", "path": str(root / "zoo"), "label": "zoo"},), root)
    for batch in crawl_zoo(lake, config).batches:
        extract_batch(lake, batch)
        layer_batch(lake, batch)
    return lake


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of two chunks of a zoo like the demo's: two architectures on one task."""
    root = tmp_path_factory.mktemp("trained")
    lake = Lake.open(root / "home")
    steps = {"mlp": 150, "cnn": 80, "resnet": 80}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, "brief", replace(DEMO, name="brief", tasks={"digits": steps}))
        ingest(lake, ZooConfig(({"kind": "trained", "recipe": "brief", "networks": 38},), root))
    return lake


def _write(zoo: Path, architecture: str, dataset: str, seed: int, module: nn.Module) -> None:
    run = f"{dataset}-{architecture}-s{seed}"
    folder = zoo / run
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": architecture, **RELU}))
    save_file(module.state_dict(), folder / "model.safetensors")
    labels = "shuffled" if seed % 5 == 4 else "true"
    (folder / "README.md").write_text(
        CARD.format(dataset=dataset, architecture=architecture, run=run, seed=seed, labels=labels)
    )
