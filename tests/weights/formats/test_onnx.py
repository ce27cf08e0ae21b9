"""ONNX: the values that a model was made of come back under PyTorch's names and in its layout, whatever node reads
them; and whatever is wrong with a file is one reason."""

from __future__ import annotations

import io
import math
import os
import struct
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    FileChanged,
    ForbiddenPath,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.onnx import open_file
from peace_pipeline.weights.formats.onnx_layout import weights_of
from peace_pipeline.weights.formats.onnx_model import MAX_DEPTH, ModelParser
from peace_pipeline.weights.local_blob import local_blob
from tests.weights.reading import read_all, refusal

ROBUST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLOATING = {
    TensorProto.FLOAT: torch.float32, TensorProto.DOUBLE: torch.float64, TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16, TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz, TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}  # fmt: skip


def initialiser(name: str, values: torch.Tensor | np.ndarray) -> TensorProto:
    return numpy_helper.from_array(
        values.detach().numpy() if torch.is_tensor(values) else np.array(values), name
    )


def model(nodes: list[Any], tensors: list[TensorProto], inputs: Any = (), outputs: Any = ("y",)) -> Any:
    def values(names: Any) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def save(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value)
        for name, value in expected.items()
    )


def output(content: Any, **inputs: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(ReferenceEvaluator(content).run(None, inputs)[0]))


def exported(module: nn.Module, example: torch.Tensor, path: Path, **options: Any) -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (example,), buffer, dynamo=False, opset_version=17, **options)
    return save(path, buffer.getvalue())


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
    path = exported(module, torch.arange(8).view(2, 4), tmp_path / "m.onnx")
    state = state_of(module)
    state["head.1.weight"] = state["head.1.weight"].view(-1)
    assert same(read_all(path), state)
    with open_checkpoint([path]) as checkpoint:
        assert checkpoint.tensors["norm.weight"].eps == 1e-3


def test_a_norm_keeps_its_parameters_and_its_epsilon(tmp_path: Path) -> None:
    module = Images()
    nn.init.uniform_(module.bn.running_var)
    options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    path = exported(module, torch.ones(1, 3, 8, 8), tmp_path / "m.onnx", **options)
    assert same(read_all(path), state_of(module))
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
    assert eps == {"bn.running_var": 1e-3}


def test_what_the_exporter_folds_is_named_after_its_module(tmp_path: Path) -> None:
    module = Images()
    path = exported(module, torch.ones(1, 3, 8, 8), tmp_path / "m.onnx")
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


PRODUCTS = {
    "MatMul": [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "Gemm": [helper.make_node("Gemm", ["x", "w"], ["y"])],
    "Gemm of the transpose": [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
    "MatMul of a Transpose": [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ],
    "MatMul of a Cast": [
        helper.make_node("Cast", ["w"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
    ],
    "from the left": [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["w", "t"], ["p"]),
        helper.make_node("Transpose", ["p"], ["y"], perm=[1, 0]),
    ],
}


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


def branch(values: np.ndarray, name: str = "w") -> Any:
    value = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))
    product = helper.make_node("MatMul", ["x", name], [f"{name}_y"])
    result = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
    return helper.make_graph([value, product], "branch", [], [result])


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


@given(
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    is_transposed=st.booleans(),
    block=st.integers(1, 99),
)
@ROBUST
def test_rows(rows: tuple[int, int], is_transposed: bool, block: int, tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(6, 5)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=0 if is_transposed else 1)
    path = save(
        tmp_path / "m.onnx", model([node], [initialiser("w", values.T if is_transposed else values)], ["x"])
    )
    start, stop = sorted(rows)
    with open_file(path, block) as file:
        part = file.read("w", (start, stop))
    assert torch.equal(part, torch.from_numpy(values[start:stop]))


def external(folder: Path, **changes: str) -> Path:
    """A model with two tensors in ``data/w.bin``, of which the first one's entry is changed."""
    content = model(
        [], [initialiser(name, np.full((4, 8), number, np.float32)) for number, name in enumerate("ab")]
    )
    (folder / "data").mkdir(exist_ok=True)
    onnx.save(content, folder / "m.onnx", save_as_external_data=True, location="data/w.bin", size_threshold=0)
    saved = onnx.load(folder / "m.onnx", load_external_data=False)
    for entry in saved.graph.initializer[0].external_data:
        entry.value = changes.get(entry.key, entry.value)
    return save(folder / "m.onnx", saved)


def test_external_data(tmp_path: Path) -> None:
    path = external(tmp_path)
    assert same(read_all(path), {"a": torch.zeros(4, 8), "b": torch.ones(4, 8)})
    with open_checkpoint([path]) as checkpoint:
        assert torch.equal(checkpoint._owner["b"].read("b", (1, 3)), torch.ones(2, 8))
        (tmp_path / "data/w.bin").write_bytes(bytes(4))
        with pytest.raises(FileChanged):
            checkpoint.read("a")


OUTSIDE = [
    "/etc/passwd",
    "../w.bin",
    "data/../../w.bin",
    "data/link.bin",
    "C:\\w.bin",
    "..\\w.bin",
    "data\\..\\w",
    "",
    ".",
    "data/\0",
]


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_stays_in_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    path = external(folder, location=location)
    (folder / "data/link.bin").symlink_to(tmp_path / "w.bin")
    refusal(path, ForbiddenPath)


def test_external_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCheckpoint, match="No such file"):
        read_all(external(tmp_path, location="other.bin"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ForbiddenPath, match="regular file"):
        read_all(external(tmp_path, location="pipe"))


@pytest.mark.parametrize("changes", [
    {"offset": "99999999999"}, {"offset": "-4"}, {"offset": "x"}, {"length": "12"}, {"length": "9" * 30},
    {"length": "9" * 9999}, {"offset": "64"},
])  # fmt: skip
def test_external_data_that_lies(changes: dict[str, str], tmp_path: Path) -> None:
    refusal(external(tmp_path, **changes), CorruptFile)


def test_one_place_under_two_names_is_one_tensor(tmp_path: Path) -> None:
    path = external(tmp_path)
    saved = onnx.load(path, load_external_data=False)
    first, second = saved.graph.initializer
    del second.external_data[:]
    second.external_data.extend(first.external_data)
    assert same(read_all(save(path, saved)), {"a": torch.zeros(4, 8)})
    second.dims[:] = [8, 4]
    assert "overlap" in refusal(save(path, saved), CorruptFile)


WEIGHT = initialiser("w", np.ones((2, 3), np.float32))


def changed(**fields: Any) -> Any:
    tensor = TensorProto()
    tensor.CopyFrom(WEIGHT)
    for name in fields:
        tensor.ClearField(name)
    tensor.MergeFrom(TensorProto(**fields))
    return model([], [tensor])


def nested(depth: int) -> Any:
    graph = helper.make_graph([], "g", [], [], [WEIGHT])
    for _ in range(depth):
        node = helper.make_node("Loop", [], [], body=graph)
        graph = helper.make_graph([node], "g", [], [])
    return model([helper.make_node("Loop", [], [], body=graph)], [])


def sparse() -> Any:
    content = model([], [])
    content.graph.sparse_initializer.add(values=WEIGHT)
    return content


def blocks() -> Any:
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=2)
    return model(
        [node], [initialiser("w", np.ones((4, 3), np.int8)), initialiser("s", np.ones((2, 3), np.float32))]
    )


def four_bits() -> Any:
    return model([], [helper.make_tensor("w", TensorProto.INT4, (2, 2), [1, 2, 3, 4])])


def halves(numbers: list[int]) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT16, dims=[3], int32_data=numbers)
    return model([], [tensor])


REFUSED = {
    "no graph": (b"", CorruptFile),
    "two graphs": (2 * changed().SerializeToString(), CorruptFile),
    "a size that it can't hold": (changed(dims=[2**40, 2**40]), CorruptFile),
    "an empty one that is huge": (changed(dims=[0, 2**62], raw_data=b""), CorruptFile),
    "a negative size": (changed(dims=[-2, -3]), CorruptFile),
    "too few values": (changed(dims=[2, 4]), CorruptFile),
    "too few bytes": (halves([1, 2]), CorruptFile),
    "too few numbers": (halves([1000, 1000]), CorruptFile),
    "two sets of values": (changed(float_data=[1.0]), CorruptFile),
    "values of another type": (changed(data_type=TensorProto.DOUBLE, raw_data=b"", float_data=[1.0]), CorruptFile),
    "an unknown type": (changed(data_type=99), UnsupportedFormat),
    "17 dimensions": (changed(dims=[1] * 17), ExcessiveSize),
    "a million dimensions": (changed(dims=[1] * 1_000_000), ExcessiveSize),
    "segments": (changed(segment=TensorProto.Segment(begin=0, end=1)), UnsupportedFormat),
    "one name twice": (model([], [WEIGHT, WEIGHT]), DuplicateTensor),
    "a long name": (changed(name="n" * 100_000), ExcessiveSize),
    "a long name of indices": (changed(name="n" * 2000, data_type=TensorProto.INT64, dims=[3]), ExcessiveSize),
    "a long name of a graph": (
        model([helper.make_node("If", [], [], "n" * 2000, body=helper.make_graph([], "g", [], []))], [WEIGHT]),
        ExcessiveSize,
    ),
    "sparse tensors": (sparse(), UnsupportedFormat),
    "graphs within graphs": (nested(MAX_DEPTH), ExcessiveSize),
    "blocks of factors": (blocks(), UnsupportedFormat),
    "four bits": (four_bits(), UnsupportedFormat),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    content, kind = REFUSED[case]
    refusal(save(tmp_path / "m.onnx", content), kind)


def test_copies_of_more_values_than_networks_have(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["w"], [f"{number}.weight"]) for number in range(4)]
    with local_blob(save(tmp_path / "m.onnx", model(nodes, [WEIGHT]))) as blob:
        graph = ModelParser(blob, no_file).parse()
        copied = 4 * math.prod(WEIGHT.dims)
        assert len(weights_of(graph, blob.name, max_copied=copied)) == 5
        with pytest.raises(ExcessiveSize, match=r"m.onnx: copies of more than"):
            weights_of(graph, blob.name, max_copied=copied - 1)


def no_file(location: str) -> NoReturn:
    raise AssertionError(location)


def test_long_names_take_no_time(tmp_path: Path) -> None:
    outputs = [f"{number}{'weight' * 10_000}." for number in range(8)]
    nodes = [helper.make_node("Identity", ["w"], [name]) for name in outputs]
    path = save(tmp_path / "m.onnx", model(nodes, [WEIGHT]))
    started = time.process_time()
    assert read_all(path)
    assert time.process_time() - started < 5


SEEDS = [
    model(*branches) for branches in (
        (PRODUCTS["MatMul"], [WEIGHT]),
        ([helper.make_node("If", ["c"], ["y"], then_branch=branch(np.ones((2, 3), np.float32)))], [WEIGHT]),
        ([helper.make_node("DequantizeLinear", ["q", "s"], ["d"]), helper.make_node("MatMul", ["x", "d"], ["y"])],
         [initialiser("q", np.ones((4, 3), np.int8)), initialiser("s", np.ones(3, np.float32))]),
        ([helper.make_node("GRU", ["x", "w", "r", "b"], ["y"])],
         [initialiser("w", np.ones((1, 6, 3), np.float32)), initialiser("r", np.ones((1, 6, 2), np.float32)),
          helper.make_tensor("b", TensorProto.FLOAT16, (1, 12), [0.5] * 12)]),
    )
]  # fmt: skip


@ROBUST
@given(data=st.data())
def test_corrupt_bytes_are_never_another_exception(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)).SerializeToString())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=8)):
        content[place] = value
    with suppress(UnreadableCheckpoint):
        read_all(save(tmp_path / "m.onnx", bytes(content[: data.draw(st.integers(0, len(content)))])))


@ROBUST
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_files(cut: float, tmp_path: Path) -> None:
    content = SEEDS[0].SerializeToString(deterministic=True)
    graph = SEEDS[0].graph.ByteSize()
    path = save(tmp_path / "m.onnx", content[: int(cut * (content.index(b"\x3a") + graph))])
    refusal(path, CorruptFile)
