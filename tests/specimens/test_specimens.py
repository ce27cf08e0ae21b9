"""The specimens: small networks of every family, before anything is claimed about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.specimens import FAMILIES, Specimen

FREE = ("key.bias", "k_proj.bias", "k_lin.bias")
"""A bias of keys adds the same to all scores of a query, which softmax ignores; not under rotary positions."""


@pytest.fixture(params=FAMILIES)
def specimen(request: pytest.FixtureRequest) -> Specimen:
    return FAMILIES[request.param]


def change(a: Tensor, b: Tensor) -> float:
    """The largest difference of two outputs, in standard deviations of the first."""
    return float((a - b).abs().max() / a.std())


def vectors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and running statistic of more than one entry."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() > 1:
            yield name, tensor


def test_a_saved_network_comes_back_with_its_function(specimen: Specimen, tmp_path: Path) -> None:
    module, inputs = specimen.build(0), specimen.inputs(0)
    before = specimen.run(module, inputs)
    assert before.isfinite().all()
    specimen.save(module, tmp_path / "model")
    loaded = specimen.load(tmp_path / "model")
    assert change(before, specimen.run(loaded, inputs)) < 1e-12
    state = loaded.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_the_folder_holds_the_configuration(specimen: Specimen, tmp_path: Path) -> None:
    specimen.save(specimen.build(0), tmp_path / "model")
    written = [json.loads(path.read_text()) for path in tmp_path.glob("model/*config.json")]
    assert any(specimen.config().items() <= config.items() for config in written)


def test_networks_are_small_and_of_trained_scale(specimen: Specimen) -> None:
    module, inputs = specimen.build(0), specimen.inputs(0)
    assert sum(parameter.numel() for parameter in module.parameters()) < 60_000
    assert 0.05 < specimen.run(module, inputs).std() < 5
    for name, tensor in vectors(module):
        assert tensor.std() > 0.02, f"{name} is not random"


def test_seeds_and_inputs_change_the_outputs(specimen: Specimen) -> None:
    module, inputs = specimen.build(0), specimen.inputs(0)
    outputs = specimen.run(module, inputs)
    assert torch.equal(outputs, specimen.run(specimen.build(0), specimen.inputs(0)))
    assert change(outputs, specimen.run(specimen.build(1), inputs)) > 0.1
    assert change(outputs, specimen.run(module, specimen.inputs(1))) > 0.1


def test_float32_is_the_rounded_network(specimen: Specimen, tmp_path: Path) -> None:
    inputs = specimen.inputs(0)
    outputs = specimen.run(specimen.build(0), inputs)
    specimen.save(specimen.build(0, torch.float32), tmp_path / "model")
    loaded = specimen.load(tmp_path / "model")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert 0 < change(outputs, specimen.run(loaded, inputs)) < 1e-4


def test_every_tensor_matters(specimen: Specimen) -> None:
    module, inputs = specimen.build(0), specimen.inputs(0)
    outputs = specimen.run(module, inputs)
    for name, tensor in vectors(module):
        kept = tensor.clone()
        tensor.copy_(tensor.flatten().roll(1).view_as(tensor))
        moved = change(outputs, specimen.run(module, inputs))
        tensor.copy_(kept)
        assert moved > 1e-3 or name.endswith(FREE), f"{name} moves the outputs by {moved:.1e}"
