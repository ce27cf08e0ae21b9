"""ONNX: the values that a model was made of come back under PyTorch's names and in its layout."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint
from tests.weights.formats.onnx_models import (
    PRODUCTS,
    ROBUST,
    branch,
    exported,
    initialiser,
    model,
    same,
    save,
)
from tests.weights.reading import read_all

FLOATING = {
    TensorProto.FLOAT: torch.float32, TensorProto.DOUBLE: torch.float64, TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16, TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz, TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}  # fmt: skip


def output(content: Any, **inputs: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(ReferenceEvaluator(content).run(None, inputs)[0]))


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.gru, self.rnn = nn.GRU(10, 4, batch_first=True), nn.RNN(4, 4, batch_first=True)
        self.norm, self.unbiased = nn.LayerNorm(4, eps=1e-3), nn.Linear(4, 3, bias=False)
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 7)])
        self.head = nn.Sequential(nn.Linear(7, 4), nn.PReLU(), nn.Linear(4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.rnn(self.gru(self.lstm(self.embedding(x))[0])[0])[0]
        x = self.unbiased(self.norm(x))
        for block in self.blocks:
            x = block(x).relu()
        return self.head(x)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-3)
        self.up, self.group = nn.ConvTranspose2d(4, 6, 2), nn.GroupNorm(2, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.group(self.up(self.bn(self.conv(x)).relu())).mean((2, 3)))


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in module.state_dict().items() if "batches" not in name}


def test_pytorchs_exporter_leads_back_to_the_state_dictionary(tmp_path: Path) -> None:
    module = Sequences()
    path = exported(module, torch.arange(8).view(2, 4), path=tmp_path / "m.onnx")
    state = state_of(module)
    state["head.1.weight"] = state["head.1.weight"].view(-1)
    assert same(read_all(path), state)
    with open_checkpoint([path]) as checkpoint:
        assert checkpoint.tensors["norm.weight"].eps == 1e-3


def test_a_norm_keeps_its_parameters_and_its_epsilon(tmp_path: Path) -> None:
    module = Images()
    nn.init.uniform_(module.bn.running_var)
    options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    path = exported(module, torch.ones(1, 3, 8, 8), path=tmp_path / "m.onnx", **options)
    assert same(read_all(path), state_of(module))
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
    assert eps == {"bn.running_var": 1e-3}


def test_what_the_exporter_folds_is_named_after_its_module(tmp_path: Path) -> None:
    module = Images()
    path = exported(module, torch.ones(1, 3, 8, 8), path=tmp_path / "m.onnx")
    state = state_of(module)
    found = read_all(path)
    assert found.keys() == {name for name in state if not name.startswith("bn.")} | {"conv.bias"}
    assert all(
        torch.equal(found[name], state[name]) for name in found if name not in ("conv.weight", "conv.bias")
    )


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", FLOATING)
def test_every_floating_type_raw_or_value_by_value(kind: int, raw: bool, tmp_path: Path) -> None:
    values = torch.tensor([[0.5, -2.0], [1.0, 0.0], [-0.25, 3.0]]).to(FLOATING[kind])
    data = values.view(torch.uint8).numpy().tobytes() if raw else values.double().flatten().tolist()
    path = save(tmp_path / "m.onnx", model([], [helper.make_tensor("w", kind, (3, 2), data, raw=raw)]))
    assert same(read_all(path), {"w": values})


def test_values_one_by_one_that_are_not_packed(tmp_path: Path) -> None:
    tensor = bytes([0x08, 3, 0x10, 1, 0x42, 1]) + b"w"  # dims, type and name
    tensor += b"".join(b"\x25" + struct.pack("<f", value) for value in (1.0, -2.0, 0.5))
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    path = save(tmp_path / "m.onnx", b"\x3a" + bytes([len(graph)]) + graph)
    assert same(read_all(path), {"w": torch.tensor([1.0, -2.0, 0.5])})


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=50))
@ROBUST
def test_numbers_of_any_length(tmp_path: Path, numbers: list[int]) -> None:
    tensor = helper.make_tensor("w", TensorProto.UINT64, (len(numbers),), numbers)
    path = save(tmp_path / "m.onnx", model([], [tensor, initialiser("f", np.ones(2, np.float32))]))
    assert read_all(path)["w"].tolist() == numbers


@pytest.mark.parametrize("case", PRODUCTS)
def test_a_matrix_product_is_a_linear_layer(case: str, tmp_path: Path) -> None:
    linear = nn.Linear(4, 3, bias=False)
    is_transposed = case in ("MatMul", "Gemm", "MatMul of a Cast")
    stored = linear.weight.T if is_transposed else linear.weight
    content = model(PRODUCTS[case], [initialiser("w", stored)], ["x"])
    x = torch.randn(5, 4)
    torch.testing.assert_close(output(content, x=x.numpy()), linear(x).detach())
    assert same(read_all(save(tmp_path / "m.onnx", content)), {"w": linear.weight.detach()})


RECURRENT = {"LSTM": (nn.LSTM, (0, 3, 1, 2)), "GRU": (nn.GRU, (1, 0, 2)), "RNN": (nn.RNN, (0,))}
"""Operator → module, and where ONNX's gates stand in PyTorch."""


def stacked(module: nn.Module, parameter: str, order: tuple[int, ...]) -> torch.Tensor:
    directions = [parameter, f"{parameter}_reverse"][: 2 if module.bidirectional else 1]
    gates = [getattr(module, name).detach().chunk(len(order)) for name in directions]
    return torch.stack([torch.cat([parts[place] for place in order]) for parts in gates])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_are_as_pytorch_has_them(kind: str, bidirectional: bool, tmp_path: Path) -> None:
    make, order = RECURRENT[kind]
    module = make(3, 5, bidirectional=bidirectional)
    weights = [stacked(module, f"weight_{part}_l0", order) for part in ("ih", "hh")]
    bias = torch.cat([stacked(module, f"bias_{part}_l0", order) for part in ("ih", "hh")], 1)
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(
        kind, ["x", "onnx::W_1", "onnx::R_2", "onnx::B_3"], ["y"], "/rnn/Recurrent", hidden_size=5,
        direction="bidirectional" if bidirectional else "forward", **options,
    )  # fmt: skip
    names = ("onnx::W_1", "onnx::R_2", "onnx::B_3")
    content = model([node], list(map(initialiser, names, (*weights, bias))), ["x"])
    if not bidirectional:
        x = torch.randn(4, 2, 3)
        torch.testing.assert_close(output(content, x=x.numpy())[:, 0], module(x)[0].detach())
    state = {f"rnn.{name}": value for name, value in module.state_dict().items()}
    path = save(tmp_path / "m.onnx", content)
    assert same(read_all(path), state)
    with open_checkpoint([path]) as checkpoint:
        part = checkpoint._owner["rnn.weight_ih_l0"].read("rnn.weight_ih_l0", (2, 5))
    assert torch.equal(part, module.weight_ih_l0[2:5])


@pytest.mark.parametrize("turned", ["never", "before", "after"])
@pytest.mark.parametrize("per", ["tensor", "row", "column"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantised_weights_are_dequantised(dtype: Any, per: str, turned: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = generator.integers(low, high, (4, 3), dtype, endpoint=True)
    axis = 1 if (per == "column") == (turned != "before") else 0
    count = {"tensor": (), "row": (4,), "column": (3,)}[per]
    tensors = [
        initialiser("fc.weight_quantized", values),
        initialiser("scale", generator.uniform(0.01, 0.1, count).astype(np.float32)),
        initialiser("zero", generator.integers(low, high, count, dtype)),
    ]
    names = ["fc.weight_quantized", "scale", "zero"]
    nodes = [helper.make_node("DequantizeLinear", names, ["d"], axis=axis)]
    if turned == "before":
        nodes.insert(0, helper.make_node("Transpose", ["fc.weight_quantized"], ["t"]))
        nodes[1].input[0] = "t"
    elif turned == "after":
        nodes += [helper.make_node("Identity", ["d"], ["i"]), helper.make_node("Transpose", ["i"], ["d2"])]
    factor = nodes[-1].output[0]
    product = helper.make_node("MatMul", ["x", factor], ["y"])
    last = helper.make_node("Transpose", [factor], ["y"])
    expected = output(model([*nodes, last], tensors))
    path = save(tmp_path / "m.onnx", model([*nodes, product], tensors, ["x"]))
    assert same(read_all(path), {"fc.weight": expected.contiguous()})
    with open_checkpoint([path]) as checkpoint:
        info = checkpoint.tensors["fc.weight"]
        part = checkpoint._owner["fc.weight"].read("fc.weight", (1, 3))
    assert (info.dtype, info.stored) == ("float32", np.dtype(dtype).name)
    assert torch.equal(part, expected[1:3])


def test_integers_without_scales_stay_integers_and_indices_are_no_weights(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.int8).reshape(2, 3)
    tensors = [
        initialiser("w", values),
        initialiser("shape", np.array([2, 3])),
        initialiser("axes", np.array([1], np.int32)),
        initialiser("fc.weight", np.ones((2, 3), np.float32)),
        initialiser("half", np.array(0.5, np.float32)),
        initialiser("sizes", np.array([1.0, 1, 2, 2], np.float32)),
    ]
    nodes = [
        helper.make_node("MatMulInteger", ["x", "w"], ["i"]),
        helper.make_node("Resize", ["x", "", "sizes"], ["r"]),
        helper.make_node("Mul", ["r", "half"], ["y"]),
    ]
    found = read_all(save(tmp_path / "m.onnx", model(nodes, tensors, ["x"])))
    assert same(found, {"w": torch.from_numpy(values), "fc.weight": torch.ones(2, 3)})


def test_the_branches_of_an_if_are_networks_of_their_own(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    nodes = [
        helper.make_node("If", ["c"], ["a"], name, then_branch=branch(values), else_branch=branch(values))
        for name in ("", "/model/If_1", "")
    ]
    prefixes = [
        f"{node}.{side}" for node in ("If_0", "model.If_1", "If_2") for side in ("else_branch", "then_branch")
    ]
    found = read_all(save(tmp_path / "m.onnx", model(nodes, [], ["x", "c"])))
    expected = torch.from_numpy(values).T.contiguous()
    assert same(found, {f"{prefix}.w": expected for prefix in prefixes})


def test_what_a_branch_reads_from_outside_has_no_prefix(tmp_path: Path) -> None:
    inner = branch(np.ones((2, 3), np.float32))
    inner.node[1].input[1] = "outer.weight"
    node = helper.make_node(
        "If", ["c"], ["y"], "if", then_branch=inner, else_branch=branch(np.ones((1, 2), np.float32))
    )
    outer = initialiser("outer.weight", np.zeros((2, 4), np.float32))
    found = read_all(save(tmp_path / "m.onnx", model([node], [outer], ["x", "c"])))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "outer.weight": (4, 2), "if.then_branch.w": (2, 3), "if.else_branch.w": (2, 1),
    }  # fmt: skip


NAMES = {
    "as they are": ("a.fc.weight", "a.fc.bias", "", "a.fc.weight", "a.fc.bias"),
    "at the root": ("weight", "bias", "/MatMul", "weight", "bias"),
    "from the bias": ("onnx::MatMul_12", "a.fc.bias", "/x/MatMul", "a.fc.weight", "a.fc.bias"),
    "from the weight": ("a.fc.weight", "val_3", "/x/MatMul", "a.fc.weight", "a.fc.bias"),
    "from the node": ("12", "13", "/a/a.1/fc/MatMul", "a.1.fc.weight", "a.1.fc.bias"),
    "from nothing": ("12", "13", "", "MatMul.weight", "MatMul.bias"),
    "Keras": ("n/d_1/MatMul/ReadVariableOp/resource:0", "n/d_1/BiasAdd/ReadVariableOp/resource:0", "n/d_1/MatMul",
              "n.d_1.weight", "n.d_1.bias"),
    "kernels": ("d/kernel:0", "d/bias:0", "d/MatMul", "d.weight", "d.bias"),
    "spox": ("F0::If_0_then_branch__Inline_0__fc.weight", "F0::If_0_then_branch__Inline_0__fc.bias", "",
             "fc.weight", "fc.bias"),
    "by hand": ("coefficient", "intercepts", "MatMul", "coefficient.weight", "coefficient.bias"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_names(case: str, tmp_path: Path) -> None:
    weight, bias, node, *expected = NAMES[case]
    nodes = [
        helper.make_node("MatMul", ["x", weight], ["p"], node),
        helper.make_node("Add", [bias, "p"], ["y"], f"{node}_add"),
    ]
    tensors = [initialiser(weight, np.ones((2, 3), np.float32)), initialiser(bias, np.ones(3, np.float32))]
    found = read_all(save(tmp_path / "m.onnx", model(nodes, tensors, ["x"])))
    assert {name: tuple(value.shape) for name, value in found.items()} == dict(
        zip(expected, [(3, 2), (3,)], strict=True)
    )


def test_the_module_that_an_exporter_notes_names_the_layer(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "val_1"], ["y"], "node_MatMul_1")
    node.metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="['', 'encoder', 'encoder.q_proj', 'linear']"
    )
    content = model([node], [initialiser("val_1", np.ones((2, 3), np.float32))], ["x"])
    assert list(read_all(save(tmp_path / "m.onnx", content))) == ["encoder.q_proj.weight"]


@given(st.lists(st.sampled_from(["w", "a.weight", "1", "onnx::x_1", "a/kernel:0", "/a/b", "x__Inline_0__w", "If_0.b"]),
                min_size=1, max_size=6))  # fmt: skip
@ROBUST
def test_whatever_the_names_every_tensor_is_there_once(tmp_path: Path, names: list[str]) -> None:
    tensors, nodes = [], []
    for number, name in enumerate(names):
        tensors.append(
            initialiser(
                f"{name}" if names.index(name) == number else f"{name}_{number}",
                np.full((2, 3), number, np.float32),
            )
        )
        nodes.append(helper.make_node("MatMul", ["x", tensors[-1].name], ["y"], name))
    found = read_all(save(tmp_path / "m.onnx", model(nodes, tensors, ["x"])))
    assert sorted(int(value[0, 0]) for value in found.values()) == list(range(len(names)))


def test_a_tensor_that_two_nodes_read_is_listed_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["emb.weight", "x"], ["e"]),
        helper.make_node("MatMul", ["e", "emb.weight"], ["y"]),
    ]
    values = torch.randn(4, 4)
    content = model(nodes, [initialiser("emb.weight", values)], ["x"])
    assert same(read_all(save(tmp_path / "m.onnx", content)), {"emb.weight": values})
