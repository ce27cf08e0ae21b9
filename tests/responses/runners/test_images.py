"""Classifiers of images of timm and torchvision, where those are installed; nothing that a config says is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.responses.answers import NotRun
from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.runners.model import Model, Ready
from peace_pipeline.responses.running import Limits, ready
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.zoo.card import read_config

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
needs_torchvision = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="torchvision is not installed"
)
IMAGES = InputSpec("numbers", (3, 128, 128))
SOME = 4


def write(folder: Path, state: Mapping[str, torch.Tensor], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def opened(folder: Path) -> Ready | NotRun:
    with open_checkpoint(weight_files(folder)) as checkpoint:
        return ready(Model("m", checkpoint, read_config(folder), folder), Limits())


def same(folder: Path, module: torch.nn.Module, inputs: torch.Tensor) -> Ready:
    """A network that answers as the library's own module does."""
    found = opened(folder)
    assert isinstance(found, Ready), found
    with torch.no_grad():
        seen, expected = found.ask([found.network], inputs), module(inputs)
    assert torch.allclose(seen.outputs[0], expected, atol=1e-4)
    assert tuple(inputs.shape[1:]) == found.spec.shape
    return found


def test_without_a_library_that_has_it_the_reason_names_them(tmp_path: Path) -> None:
    found = opened(write(tmp_path, {"w": torch.ones(2, 2)}, architecture="no_such_network"))
    assert isinstance(found, NotRun)
    assert "no_such_network" in found.reason
    assert "timm and torchvision" in found.reason


def timm_network(name: str, **options: Any) -> torch.nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=5, **options).eval()


@needs_timm
@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("resnet10t", {}, (3, 128, 128)),
        ("test_vit", {}, (3, 160, 160)),
        ("test_convnext", {"in_chans": 1}, (1, 128, 128)),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": [1, 1, 1, 1]}, (3, 224, 224)),
    ],
)
def test_it_answers_as_timm_s_own_module(
    name: str, options: dict[str, Any], shape: tuple[int, ...], tmp_path: Path
) -> None:
    module = timm_network(name, **options)
    config = {"architecture": name, "num_classes": 5, "model_args": options, "label_names": list("abcde")}
    inputs = probes(InputSpec("numbers", shape), 0, SOME)
    found = same(write(tmp_path, module.state_dict(), **config), module, inputs)
    assert found.run_by == "timm"
    assert found.labels == tuple("abcde")


@needs_timm
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"num_classes": 7}, "is not that of the module"),
        ({"architecture": "test_resnet"}, "its weights have no"),
        ({"architecture": "hf-hub:org/name"}, "nothing here runs"),
        ({"architecture": "local-dir:/tmp"}, "nothing here runs"),
        ({"model_args": {"pretrained": True}}, "config.json has pretrained"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "config.json has checkpoint_path"),
        ({"model_args": {"layers": [10**6, 1, 1, 1]}}, "larger network"),
        ({"model_args": {"no_such_option": 1}}, "no_such_option"),
        ({"model_args": {"in_chans": -1}}, ""),
    ],
)
def test_what_a_config_claims_wrongly_is_a_reason(said: dict[str, Any], reason: str, tmp_path: Path) -> None:
    config = {"architecture": "resnet10t", "num_classes": 5} | said
    found = opened(write(tmp_path, timm_network("resnet10t").state_dict(), **config))
    assert isinstance(found, NotRun)
    assert reason in found.reason


@needs_torchvision
@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5"])
def test_it_answers_as_torchvision_s_own_module(name: str, tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
    folder = write(tmp_path, module.state_dict(), architecture=name, num_classes=5)
    found = same(folder, module, probes(IMAGES, 0, SOME))
    assert found.run_by == "torchvision"
