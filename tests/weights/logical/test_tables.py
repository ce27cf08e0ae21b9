"""Masks and tables are no parameters, under whatever name; parameters that look a bit like them are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import NotFinite
from peace_pipeline.weights.logical import logical
from tests.weights.logical.states import read_all, written

PLACES = torch.arange(40.0)[:, None]
ANGLES = PLACES * 10000 ** (-torch.arange(16.0) / 16)
HALVES = torch.cat([ANGLES.sin(), ANGLES.cos()], 1)
IN_TURN = torch.stack([ANGLES.sin(), ANGLES.cos()], 2).flatten(1)
TRIANGLE = torch.ones(9, 9).tril()
TABLES = {
    "minus infinity": torch.zeros(9, 9).masked_fill(TRIANGLE == 0, float("-inf")),
    "the least float": torch.zeros(1, 1, 9, 9).masked_fill(TRIANGLE == 0, torch.finfo(torch.float32).min),
    "minus 10⁹": torch.zeros(9, 9).masked_fill(TRIANGLE == 0, -1e9),
    "seen and hidden": TRIANGLE,
    "sines and cosines, halves": HALVES,
    "sines and cosines in turn": IN_TURN[None],
    "one by one": IN_TURN[:, None],
    "in bfloat16": HALVES.bfloat16(),
    "cosines": ANGLES.cos(),
    "frequencies": 10000 ** (-torch.arange(16.0) / 16),
    "phases": torch.polar(torch.ones(40, 16), ANGLES),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_are_no_parameters(case: str, tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(8, 8), "some.thing": TABLES[case]}
    assert read_all(tmp_path, state).keys() == {"a.weight"}


PARAMETERS = {
    "a class token": torch.zeros(1, 1, 64),
    "learned positions": torch.randn(1, 40, 32) * 0.02,
    "ones": torch.ones(9, 9),
    "of two values": torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
    "a gain": torch.ones(64),
    "a temperature": torch.tensor([0.5]),
    "an identity": torch.eye(9),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_stay(case: str, tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(8, 8), "some.thing": PARAMETERS[case]}
    assert read_all(tmp_path, state).keys() == state.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_row_that_is_not_finite_is_dead(value: float, tmp_path: Path) -> None:
    weight, bias = torch.randn(8, 6), torch.randn(8)
    expected = {"a.weight": weight.clone(), "a.bias": bias.clone()}
    weight[3, 2], bias[5] = value, value
    expected["a.weight"][3], expected["a.bias"][5] = 0, 0
    found = read_all(tmp_path, {"a.weight": weight, "a.bias": bias})
    assert all(torch.equal(found[name], values.double()) for name, values in expected.items())


def test_a_column_that_is_not_finite_is_dead(tmp_path: Path) -> None:
    weight = torch.randn(8, 6)
    expected = weight.clone()
    weight[:, 4], expected[:, 4] = float("nan"), 0
    assert torch.equal(read_all(tmp_path, {"a.weight": weight})["a.weight"], expected.double())


def test_a_weight_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    state = {"a.weight": torch.full((8, 6), float("nan")), "b.weight": torch.ones(6, 6)}
    with open_checkpoint([written(tmp_path / "m.safetensors", state)]) as checkpoint:
        network = logical(checkpoint, {})
        with pytest.raises(NotFinite, match=r"a\.weight"):
            network.read("a.weight")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_dead_does_not_depend_on_what_is_read(value: float, tmp_path: Path) -> None:
    first, middle = torch.randn(40, 6), torch.randn(40, 6)
    first[0], middle[:, 2] = value, value
    with open_checkpoint([written(tmp_path / "m.safetensors", {"a": first, "b": middle})]) as checkpoint:
        for name in ("a", "b"):
            whole = checkpoint.read(name)
            assert whole.isfinite().all()
            rows = [checkpoint.read(name, torch.float32, (row, row + 1)) for row in range(40)]
            assert torch.equal(torch.cat(rows), whole)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_dead_row_of_8_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.ones(8, 6)
    weight[3, 2] = float("nan")
    found = read_all(tmp_path, {"a.weight": weight.to(dtype)})["a.weight"]
    assert found.sum(1).tolist() == [6.0, 6.0, 6.0, 0.0, 6.0, 6.0, 6.0, 6.0]


def test_large_doubles_are_finite(tmp_path: Path) -> None:
    weight = torch.full((3, 2), 1e300, dtype=torch.float64)
    with open_checkpoint([written(tmp_path / "m.safetensors", {"a.weight": weight})]) as checkpoint:
        assert torch.equal(checkpoint.read("a.weight", torch.float64), weight)


def test_masks_of_many_layers(tmp_path: Path) -> None:
    masks = {f"blocks.{layer}.seen": TRIANGLE for layer in range(100)}
    assert read_all(tmp_path, {"a.weight": torch.randn(8, 8), **masks}).keys() == {"a.weight"}


@pytest.mark.parametrize(
    "table",
    [
        torch.ones(1, 1, 32, 32).tril().to(torch.uint8),
        torch.ones(40, 40).to(torch.int8),
        torch.arange(-900, 900).view(30, 60),
        torch.tensor([2**31, 7], dtype=torch.uint32),
    ],
)
def test_integers_that_are_no_weights(table: torch.Tensor, tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(8, 8), "gpt_neox.layers.0.attention.bias": table}
    assert {name for name in read_all(tmp_path, state) if name.endswith("weight")} == {"a.weight"}


def test_layers_that_are_called_as_statistics(tmp_path: Path) -> None:
    names = [
        "actor.mean.weight",
        "out.window.weight",
        "sigmas.weight",
        "actor.std.bias",
        "loss_weight.weight",
    ]
    assert read_all(tmp_path, {name: torch.randn(1, 3) for name in names}).keys() == set(names)
    state = {"a.weight": torch.randn(8, 8), "mean": torch.ones(1, 3, 1, 1), "x.log_sigmas": torch.ones(99)}
    assert read_all(tmp_path, state).keys() == {"a.weight"}
