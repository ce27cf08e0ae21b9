"""What all tests share: small modules with a real forward, model folders on disk, and lakes filled from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.symmetry.form.folding import Read, folded_layer
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.trained import build

if TYPE_CHECKING:
    from tests.specimens.running import Shelf

RELU = {"hidden_act": "relu"}
CONFIGS: dict[str, dict[str, Any]] = {
    "mlp": {"model_type": "mlp", "input_shape": [12], "hidden_sizes": [10, 8, 9], "num_labels": 4},
    "cnn": {
        "model_type": "cnn", "input_shape": [1, 8, 8], "channels": [6, 5, 7], "strides": [1, 2, 2],
        "kernel_size": 3, "padding": 1, "num_labels": 4,
    },
    "resnet": {
        "model_type": "resnet", "input_shape": [1, 8, 8], "channels": [6, 6, 8], "strides": [1, 1, 2],
        "kernel_size": 3, "padding": 1, "num_labels": 4,
    },
    "bottleneck": {"model_type": "resnet", "input_shape": [1, 8, 8], "num_labels": 4},
}  # fmt: skip
"""Architecture → the config.json of a small network of it; ``module_of`` builds the network."""
WIRED_AS = {"mlp": "chain", "cnn": "chain", "resnet": "family", "bottleneck": "family"}

settings.register_profile(
    "peace",
    derandomize=True,
    deadline=None,
    max_examples=20,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("peace")
torch.set_num_threads(1)


class Bottleneck(nn.Module):
    """torchvision's block of three convolutions, with its names."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class BottleneckNet(nn.Module):
    """Two stages of bottleneck blocks, one of which keeps the stream that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.layer1 = nn.Sequential(Bottleneck(6, 4, 10), Bottleneck(10, 5, 10))
        self.layer2 = nn.Sequential(Bottleneck(10, 4, 12))
        self.fc = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def module_of(architecture: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A random network in evaluation mode; its norms have random statistics, gains and shifts."""
    torch.manual_seed(seed)
    module = BottleneckNet() if architecture == "bottleneck" else build(CONFIGS[architecture])
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.3, 3)
            nn.init.uniform_(part.weight, -1.5, 1.5)
            nn.init.uniform_(part.bias, -1, 1)
    return module.to(dtype).eval()


def inputs_of(architecture: str, count: int = 5) -> torch.Tensor:
    """Random inputs of an architecture, float64."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, *CONFIGS[architecture]["input_shape"], generator=generator, dtype=torch.float64)


def config_of(architecture: str) -> dict[str, Any]:
    """The config.json of an architecture with ReLU."""
    return CONFIGS[architecture] | RELU


def folded_tensors(wiring: Wiring, read: Read) -> dict[str, torch.Tensor]:
    """All folded tensors of a network, none of them cut, under the names of ``wiring.folded``."""
    return {
        f"{position}.{role}": tensor
        for position, wired in enumerate(wiring.layers)
        for role, tensor in folded_layer(wired, read).items()
    }


def infos_of(state: Mapping[str, torch.Tensor]) -> list[TensorInfo]:
    """The inventory of a state dictionary."""
    return [TensorInfo(name, tuple(value.shape), dtype_name(value.dtype)) for name, value in state.items()]


def infos(**shapes: tuple[int, ...]) -> list[TensorInfo]:
    """An inventory of float32 tensors by name (``__`` stands for a dot) and shape."""
    return [TensorInfo(name.replace("__", "."), shape, "float32") for name, shape in shapes.items()]


def as_input(key: str, state: Mapping[str, torch.Tensor], config: dict[str, Any]) -> Network:
    """A state dictionary as the encoder takes it."""
    wiring = infer_wiring(infos_of(state), config)
    return Network(key, wiring, folded_tensors(wiring, lambda name: state[name].detach()))


def networks_of(
    architecture: str, count: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Network]:
    """Random networks as the encoder takes them; ``independent`` ones are residual networks under odd names."""
    base = "resnet" if architecture == "independent" else architecture
    found = []
    for number in range(count):
        state = module_of(base, seed + number, dtype).state_dict()
        config = config_of(base)
        if architecture == "independent":
            state, config = {f"odd.{name}": value for name, value in state.items()}, {}
        found.append(as_input(f"{architecture}-{number}", state, config))
    return found


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
    """Crawl, and bring what is new up to its layer table."""
    summary = crawl_zoo(lake, config)
    for batch in summary.batches:
        extract_batch(lake, batch)
        layer_batch(lake, batch)
    return summary


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The specimens, saved."""
    from tests.specimens.running import Shelf

    return Shelf(tmp_path_factory.mktemp("specimens"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake.open(tmp_path / "home")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """An empty folder for models."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    return folder
