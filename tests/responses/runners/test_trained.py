"""Networks of the zoo's own architectures, run by their modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from peace_pipeline.responses.probes import probes
from peace_pipeline.responses.runners import trained
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from peace_pipeline.zoo.trained.populations import State, initial
from tests.lakes import write_model
from tests.responses.runners.disguises import assert_alike, disguised

CONFIGS = {name: next(iter(variants.values())) for name, variants in ARCHITECTURES.items()}


def states(config: dict, count: int) -> list[State]:
    generator = torch.Generator().manual_seed(0)
    return [initial(config, 1.0, generator) for _ in range(count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_many_answer_as_each_alone(name: str) -> None:
    config = CONFIGS[name]
    assert trained.fits(config)
    inputs, several = probes(trained.input_spec(config), 0, 24), states(config, 3)
    together = trained.answer(config, several, inputs)
    assert together.shape == (3, 24, config["num_labels"])
    for one, state in zip(together, several, strict=True):
        assert torch.allclose(one, trained.answer(config, [state], inputs)[0], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**31))
def test_no_symmetry_changes_an_answer(name: str, dtype: torch.dtype, seed: int, tmp_path: Path) -> None:
    config, generator = CONFIGS[name], torch.Generator().manual_seed(seed)
    state = {
        key: value + 0.1 * torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for key, value in initial(config, 1.0, generator).items()
    }
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    copy = load_file(disguised(write_model(tmp_path / "m", state, config), seed) / "model.safetensors")
    assert any(not torch.equal(copy[key], value) for key, value in state.items())
    inputs = probes(trained.input_spec(config), 0, 16)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    with torch.no_grad():
        one, other = (trained.answer(config, [each], inputs)[0] for each in (state, copy))
    assert_alike(one, other)


def test_answers_are_differentiable_in_the_probes() -> None:
    config = CONFIGS["vgg"]
    inputs = probes(trained.input_spec(config), 0, 4).requires_grad_()
    trained.answer(config, states(config, 2), inputs).square().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum() > 0


def test_tensors_that_are_not_the_modules_are_told() -> None:
    config = CONFIGS["mlp"]
    (state,) = states(config, 1)
    assert trained.mismatch(config, state) is None
    first = next(iter(state))
    assert first in (trained.mismatch(config, state | {first: torch.zeros(2, 2)}) or "")
    assert "other" in (trained.mismatch(config, state | {"other": torch.zeros(2)}) or "")
    assert first in (trained.mismatch(config, {name: state[name] for name in list(state)[1:]}) or "")
