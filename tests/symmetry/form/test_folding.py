"""Norms folded into the layers beside them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from peace_pipeline.symmetry.form.folding import affine, fold
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from tests.networks import folded_tensors, infos_of


def random_norm(kind: type[nn.Module], size: int, affine: bool) -> nn.Module:
    norm = kind(size, affine=affine)
    with torch.no_grad():
        norm.running_mean.uniform_(-2, 2)
        norm.running_var.uniform_(0.1, 3)
        if affine:
            norm.weight.uniform_(-2, 2)
            norm.bias.uniform_(-2, 2)
    return norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["linear", "conv1d", "conv2d"])
def test_folding_is_what_the_norm_does(kind: str, bias: bool, affine: bool) -> None:
    torch.manual_seed(0)
    layer, norm, x = {
        "linear": lambda: (nn.Linear(3, 5, bias=bias), nn.BatchNorm1d, torch.randn(7, 3)),
        "conv1d": lambda: (nn.Conv1d(3, 5, 2, bias=bias), nn.BatchNorm1d, torch.randn(7, 3, 6)),
        "conv2d": lambda: (nn.Conv2d(3, 5, 2, bias=bias), nn.BatchNorm2d, torch.randn(7, 3, 6, 6)),
    }[kind]()
    head = nn.Linear(5, 2) if kind == "linear" else type(layer)(5, 2, 2)
    module = nn.Sequential(layer, random_norm(norm, 5, affine), head).double().eval()
    state, x = module.state_dict(), x.double()
    wiring = infer_wiring(infos_of(state), {"hidden_act": "relu"})
    assert wiring.method == "chain"
    folded = folded_tensors(wiring, state.__getitem__)
    assert folded.keys() == {"0.weight", "0.bias", "1.weight", "1.bias"}
    plain = type(layer)(*((3, 5) if kind == "linear" else (3, 5, 2))).double()
    plain.load_state_dict({"weight": folded["0.weight"], "bias": folded["0.bias"]})
    torch.testing.assert_close(plain(x), module[:2](x), rtol=1e-10, atol=1e-10)
    scalable = [group.name for group in wiring.acting("scale")]
    assert scalable == (["0"] if affine else [])


def test_affine_parts_that_are_missing() -> None:
    gain, shift = torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0])
    assert [part.tolist() for part in affine(gain, None, None, None, 0.0)] == [[2, 3], [0, 0]]
    assert [part.tolist() for part in affine(None, shift, None, None, 0.0)] == [[1, 1], [1, -1]]
    scale, offset = affine(gain, shift, torch.tensor([1.0, 1.0]), torch.tensor([4.0, 0.25]), 0.0)
    assert (scale.tolist(), offset.tolist()) == ([1, 6], [0, -7])
    weight, bias = fold(torch.ones(2, 3), None, scale, offset)
    assert (weight[:, 0].tolist(), bias.tolist()) == ([1, 6], [0, -7])
    with pytest.raises(ValueError, match="negative"):
        affine(gain, shift, None, torch.tensor([1.0, -1.0]), 0.0)
