"""What tells which tensor of one network is which of another."""

from __future__ import annotations

import torch

from peace_pipeline.comparison.fingerprints import (
    is_wired,
    of_norms,
    of_values,
    paired_by_norms,
    paired_by_values,
)
from tests.comparison.test_pairing import Opener, opened

__all__ = ["opened"]
NAMES = ["a", "b", "c"]


def test_values_tell_tensors_and_noise_does_not_hide_them() -> None:
    torch.manual_seed(0)
    prints = {name: torch.nn.functional.normalize(torch.randn(500), dim=0).double() for name in NAMES}
    others = {name.upper(): prints[name] + 0.01 * torch.randn(500) for name in NAMES}
    assert paired_by_values(NAMES, ["C", "A", "B"], prints, others) == {"a": "A", "b": "B", "c": "C"}
    strangers = {name: torch.nn.functional.normalize(torch.randn(500), dim=0).double() for name in "XYZ"}
    assert paired_by_values(NAMES, list(strangers), prints, strangers) == {}


def test_norms_tell_tensors_whose_units_and_inputs_are_in_another_order(opened: Opener) -> None:
    torch.manual_seed(0)
    state = {f"{name}.weight": torch.randn(24, 16) for name in NAMES}
    moved = {
        f"{name.upper()}.weight": state[f"{name}.weight"][torch.randperm(24)][:, torch.randperm(16)]
        for name in NAMES
    }
    a, b = opened(state), opened(moved)
    assert not is_wired(a)
    for dim in (0, 1):
        prints = [
            of_norms(each, None, {(24, 16): list(names)}, dim) for each, names in ((a, state), (b, moved))
        ]
        found = paired_by_norms(list(state), list(moved), *prints)
        assert found == {f"{name}.weight": f"{name.upper()}.weight" for name in NAMES}
    other = {f"{name}.weight": torch.randn(24, 16) for name in NAMES}
    prints = [of_norms(each, None, {(24, 16): list(state)}, 0) for each in (a, opened(other))]
    assert paired_by_norms(list(state), list(other), *prints) == {}


def test_tensors_that_are_constant_tell_nothing(opened: Opener) -> None:
    network = opened({"a.weight": torch.ones(4, 4), "b.weight": torch.randn(4, 4)})
    found = of_values(network, {(4, 4): ["a.weight", "b.weight"]})
    assert found["a.weight"] is None
    assert found["b.weight"] is not None
