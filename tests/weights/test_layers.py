"""Layers out of names and shapes, and norms folded into the layer before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from peace_pipeline.symmetry.infer import infer_wiring
from peace_pipeline.symmetry.layering import folded_tensors
from peace_pipeline.weights.folding import affine, fold
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.tensors import TensorInfo
from tests.conftest import infos, infos_of


def test_tensors_that_act_as_one_map_are_one_layer() -> None:
    found = layers_of(
        infos(
            fc10__weight=(4, 3), fc10__bias=(4,), fc2__weight=(3, 5), bn__weight=(4,), bn__bias=(4,),
            bn__running_mean=(4,), bn__running_var=(4,), scale=(4,), token=(1, 4),
        )
    )  # fmt: skip
    assert {layer.name: layer.kind for layer in found} == {
        "bn": "norm", "fc2": "linear", "fc10": "linear", "scale": "norm", "token": "embedding",
    }  # fmt: skip
    assert [layer.name for layer in found] == ["bn", "fc2", "fc10", "scale", "token"]
    roles = {layer.name: set(layer.tensors) for layer in found}
    assert roles["bn"] == {"gain", "shift", "mean", "var"}
    assert roles["fc10"] == {"weight", "bias"}
    assert roles["scale"] == {"gain"}


KINDS = {
    "linear": (4, 3), "conv1d": (4, 3, 2), "conv2d": (4, 3, 2, 2), "conv3d": (4, 3, 2, 2, 2),
    "tensor": (4, 3, 2, 2, 2, 2), "norm": (4,),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_by_shape(kind: str) -> None:
    (layer,) = layers_of(infos(a__weight=KINDS[kind]))
    assert (layer.kind, layer.shape, layer.is_norm) == (kind, KINDS[kind], kind == "norm")


def test_kinds_by_context() -> None:
    first = layers_of(infos(a__weight=(8, 1, 3, 3), b__weight=(8, 1, 3, 3)))
    assert [layer.kind for layer in first] == ["conv2d", "depthwise"]
    named = layers_of(infos(word_embeddings__weight=(9, 4), wte__weight=(9, 4), embedder__weight=(9, 4)))
    assert {layer.name: layer.kind for layer in named} == {
        "word_embeddings": "embedding",
        "wte": "embedding",
        "embedder": "linear",
    }


def test_what_is_no_layer() -> None:
    tensors = [
        TensorInfo("steps", (3,), "int64"),
        TensorInfo("empty", (0, 3), "float32"),
        TensorInfo("scalar", (), "float32"),
    ]
    assert layers_of(tensors) == []


def test_every_tensor_is_in_one_layer_and_every_layer_is_sound() -> None:
    odd = infos(
        weight=(4, 3), bias=(4,), a__weight=(5,), a__bias=(3,), b__bias=(3, 4), c__weight=(4, 3), c__gamma=(4,),
        d__running_mean=(4,), e__weight=(4, 3), e__bias=(3,), e__running_var=(2, 2),
        f__weight=(4, 3), f__running_mean=(4,), g__bias=(4, 3), g__running_var=(4,),
    )  # fmt: skip
    found = layers_of(odd)
    used = [name for layer in found for name in layer.tensors.values()]
    assert sorted(used) == sorted(info.name for info in odd)
    assert all(layer.name for layer in found)
    assert len({layer.name for layer in found}) == len(found)
    shapes = {info.name: info.shape for info in odd}
    for layer in found:
        assert layer.is_norm or "weight" in layer.tensors
        for name in layer.tensors.values():
            assert shapes[name] in (layer.shape, layer.shape[:1])
    wiring = infer_wiring(odd, {})
    folded = folded_tensors(wiring, lambda name: torch.ones(shapes[name]))
    assert folded.keys() == {name for wired in wiring.folded.layers for name in wired.layer.tensors.values()}


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
