"""Networks whose file holds what is computed with their weights: what is certain of them, and that it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from benchmarks.subjects import PLAIN
from peace_pipeline.comparison.settings import differences
from peace_pipeline.symmetry.opening import LocalModel, OpenNetwork
from peace_pipeline.symmetry.transforming import strengths, transform
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.checkpoint import open_checkpoint
from tests.networks import infos_of
from tests.weights.formats.onnx_models import exported, initialiser, model, save

CERTAIN = {
    "relu_chain": 2, "numbered_layers": 2, "square_all_through": 2, "deep_linear": 2, "flattened": 3, "max_pooling": 2,
    "convolutional_autoencoder": 3, "square_transposed": 2, "residual_mlp_flat_names": 1, "u_net_that_adds": 1,
    "resnet_nine": 3, "variational_autoencoder": 1, "actor_critic": 4, "nerf_skip": 2,
}  # fmt: skip
"""Modules, and how many of their groups their graph shows to be passed on."""

REFUTED = {
    "positions_of_units": "several nodes", "cumulative_units": "CumSum", "hidden_is_output": "come out",
    "group_norm_between": "Reshape",
}  # fmt: skip
"""Modules whose units names and shapes would take for hidden ones, and what the graph shows."""

UNSAID = """
    repeated_layer shared_under_two_names deep_equilibrium highway halves_for_two_layers flattened_channels_last
    average_and_maximum_joined grouped_transposed depthwise_multiplied
"""
"""Modules in which nothing passes from one layer to one other alone."""


def graph_of(name: str, path: Path) -> tuple[Path, list[torch.Tensor]]:
    """A plain module as an ONNX graph, and its inputs."""
    subject = PLAIN[name]
    module = subject.build()
    inputs = [x.float() if x.is_floating_point() else x for x in subject.inputs(module)[0].values()]
    return exported(module.float(), *inputs, path=path), inputs


def opened(path: Path) -> OpenNetwork:
    with open_checkpoint([path]) as checkpoint:
        return OpenNetwork.of(checkpoint, {})


def acting(wiring: Wiring) -> int:
    return sum("permute" in group.actions for group in wiring.groups.values())


def moved(path: Path, inputs: list[torch.Tensor]) -> float:
    """How far all that is claimed moves the outputs, relative to their largest."""
    new = path.with_name("new.onnx")
    transform(
        LocalModel(path, [path]), new, strengths((), everything=True, decades=None), lenient=True, seed=0
    )
    own, other = (ReferenceEvaluator(str(each)) for each in (path, new))
    fed = dict(zip(own.input_names, (x.numpy() for x in inputs), strict=True))
    pairs = zip(own.run(None, fed), other.run(None, fed), strict=True)
    return max(float(np.abs(x - y).max() / np.abs(x).max()) for x, y in pairs)


@pytest.mark.parametrize("name", CERTAIN)
def test_what_a_graph_shows_is_certain_and_holds(name: str, tmp_path: Path) -> None:
    path, inputs = graph_of(name, tmp_path / "model.onnx")
    wiring = opened(path).wiring
    assert wiring.basis == "certain"
    assert acting(wiring) == CERTAIN[name]
    assert moved(path, inputs) < 1e-4


@pytest.mark.parametrize("name", REFUTED)
def test_what_a_graph_refutes_is_not_claimed(name: str, tmp_path: Path) -> None:
    path, _ = graph_of(name, tmp_path / "model.onnx")
    found = opened(path)
    assert acting(found.wiring) == 0
    assert REFUTED[name] in found.reason


@pytest.mark.parametrize("name", UNSAID.split())
def test_of_what_a_graph_does_not_show_nothing_is_claimed(name: str, tmp_path: Path) -> None:
    path, _ = graph_of(name, tmp_path / "model.onnx")
    assert acting(opened(path).wiring) == 0


def test_a_graph_says_what_a_config_would(tmp_path: Path) -> None:
    path, _ = graph_of("numbered_layers", tmp_path / "a.onnx")
    state = PLAIN["numbered_layers"].build().state_dict()
    assert opened(path).wiring.groups.keys() == infer_wiring(infos_of(state), {}).groups.keys()
    path, _ = graph_of("relu_chain", tmp_path / "b.onnx")
    state = PLAIN["relu_chain"].build().state_dict()
    assert opened(path).wiring == infer_wiring(infos_of(state), {"hidden_act": "relu"})


def test_the_bias_of_a_transposed_convolution_goes_with_its_units(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "a.weight", "a.bias"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("ConvTranspose", ["r", "b.weight"], ["q"]),
        helper.make_node("Add", ["q", "q"], ["y"]),
    ]
    shapes = {"a.weight": (3, 8, 2, 2), "a.bias": (8,), "b.weight": (8, 5, 2, 2)}
    weights = [initialiser(name, torch.randn(shape)) for name, shape in shapes.items()]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    assert opened(path).wiring.groups["a"].actions == ("permute", "scale")
    assert moved(path, [torch.randn(2, 3, 4, 4)]) < 1e-4


def test_a_graph_that_refutes_its_config(tmp_path: Path) -> None:
    path, _ = graph_of("cumulative_units", tmp_path / "model.onnx")
    with open_checkpoint([path]) as checkpoint:
        assert acting(OpenNetwork.of(checkpoint, {"hidden_act": "relu"}).wiring) == 0


def test_of_what_is_not_followed_a_config_says_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "layers.0.weight"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 1]),
        helper.make_node("Gemm", ["t", "layers.1.weight"], ["m"], transB=1),
        helper.make_node("Relu", ["m"], ["q"]),
        helper.make_node("Gemm", ["q", "layers.2.weight"], ["y"], transB=1),
    ]
    shapes = {"layers.0.weight": (16, 6), "layers.1.weight": (12, 16), "layers.2.weight": (3, 12)}
    weights = [initialiser(name, torch.randn(shape)) for name, shape in shapes.items()]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    with open_checkpoint([path]) as checkpoint:
        found = OpenNetwork.of(checkpoint, {"hidden_act": "relu"})
    assert acting(found.wiring) == 1
    assert "layers.0: what becomes of them is not followed" in found.reason


@pytest.mark.parametrize("op", ["Reshape", "Clip"])
def test_what_is_computed_of_constants_is_no_bias(op: str, tmp_path: Path) -> None:
    """It may lie along another axis."""
    inputs = {"Reshape": ["c", "shape"], "Clip": ["c", "", "most"]}[op]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node(op, inputs, ["k"]),
        helper.make_node("Add", ["h", "k"], ["q"]),
        helper.make_node("MatMul", ["q", "b"], ["y"]),
    ]
    weights = [
        initialiser(name, torch.randn(shape))
        for name, shape in (("a", (6, 16)), ("b", (16, 3)), ("c", (16,)))
    ]
    weights += [initialiser("shape", np.array([16, 1])), initialiser("most", torch.tensor(0.5))]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    assert acting(opened(path).wiring) == 0


def test_other_activations_are_another_function(tmp_path: Path) -> None:
    for name in ("Relu", "Tanh"):
        steps = [("MatMul", "x a h"), (name, "h q"), ("MatMul", "q b y")]
        nodes = [helper.make_node(op, names.split()[:-1], names.split()[-1:]) for op, names in steps]
        weights = [initialiser(each, torch.ones(shape)) for each, shape in (("a", (6, 16)), ("b", (16, 3)))]
        save(tmp_path / f"{name}.onnx", model(nodes, weights, inputs=["x"]))
    with open_checkpoint([tmp_path / "Relu.onnx"]) as a, open_checkpoint([tmp_path / "Tanh.onnx"]) as b:
        assert "activation (relu, tanh)" in differences(OpenNetwork.of(a, {}), OpenNetwork.of(b, {}))
        assert differences(OpenNetwork.of(a, {}), OpenNetwork.of(a, {})) == []


def test_units_that_are_pooled_have_no_signs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MaxPool", ["t"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("Conv", ["p", "b.weight"], ["y"]),
    ]
    weights = [
        initialiser("a.weight", torch.randn(8, 3, 3, 3)),
        initialiser("b.weight", torch.randn(5, 8, 3, 3)),
    ]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    assert opened(path).wiring.groups["a"].actions == ("permute",)


SHARED = {
    "a constant is added to units": [("MatMul", "x a h"), ("Relu", "h r"), ("Add", "r shift q"), ("MatMul", "q b y")],
    "units meet what isn't known": [("MatMul", "x a h"), ("CumSum", "h axis q"), ("MatMul", "q b y")],
    "weights are read twice": [("MatMul", "x a h"), ("MatMul", "h b y"), ("MatMul", "x a z")],
    "what is made of weights is read twice": [
        ("Identity", "a c"), ("MatMul", "x c h"), ("MatMul", "h b y"), ("MatMul", "x c z"),
    ],
    "a bias of another name": [("Gemm", "x a.weight other.bias h"), ("Gemm", "h b y")],
    "a product for each of a batch": [("MatMul", "x batch h"), ("MatMul", "h b y")],
    "a bias that is spread": [("Gemm", "x a.weight row h"), ("Gemm", "h b y")],
}  # fmt: skip
"""Operators with their inputs and outputs."""


@pytest.mark.parametrize("case", SHARED)
def test_what_else_reads_or_changes_units(case: str, tmp_path: Path) -> None:
    nodes = [helper.make_node(op, names.split()[:-1], names.split()[-1:]) for op, names in SHARED[case]]
    shapes = {
        "a": (6, 16),
        "a.weight": (6, 16),
        "b": (16, 3),
        "shift": (16,),
        "other.bias": (16,),
        "row": (1, 16),
    }
    used = {name for node in nodes for name in node.input}
    weights = [initialiser(name, torch.randn(shape)) for name, shape in shapes.items() if name in used]
    outputs = [name for name in ("y", "z") if any(name in node.output for node in nodes)]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"], outputs=outputs))
    with open_checkpoint([path]) as checkpoint:
        assert not [passage for passage in checkpoint.passages if passage.reader]


ALIKE = {
    "SiLU": [("Sigmoid", "h s"), ("Mul", "h s q")],
    "GELU": [("Div", "h two d"), ("Erf", "d e"), ("Add", "e two f"), ("Mul", "h f g"), ("Mul", "g two q")],
    "a square": [("Mul", "h h q")],
    "Relu": [("Relu", "h q")],
    "Sigmoid": [("Sigmoid", "h q")],
}
"""Operators between two products that treat all units alike."""


@pytest.mark.parametrize("case", ALIKE)
def test_what_treats_units_alike(case: str, tmp_path: Path) -> None:
    steps = [("MatMul", "x a h"), *ALIKE[case], ("MatMul", "q b y")]
    nodes = [helper.make_node(op, names.split()[:-1], names.split()[-1:]) for op, names in steps]
    weights = [
        initialiser(name, torch.randn(shape)) for name, shape in (("a", (6, 16)), ("b", (16, 3)), ("two", ()))
    ]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    wiring = opened(path).wiring
    assert wiring.basis == "certain"
    assert wiring.groups["a"].actions == (("permute", "scale") if case == "Relu" else ("permute",))
    assert moved(path, [torch.randn(5, 6)]) < 1e-4


@pytest.mark.parametrize(("kind", "actions"), [(1, {"permute", "scale", "sign", "linear"}), (6, {"permute"})])
def test_what_a_cast_leaves(kind: int, actions: set[str], tmp_path: Path) -> None:
    """Whole numbers have no scale."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Cast", ["h"], ["i"], to=kind),
        helper.make_node("Cast", ["i"], ["q"], to=1),
        helper.make_node("MatMul", ["q", "b"], ["y"]),
    ]
    weights = [initialiser(name, torch.randn(shape)) for name, shape in (("a", (6, 16)), ("b", (16, 3)))]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    assert set(opened(path).wiring.groups["a"].actions) == actions
    assert moved(path, [torch.randn(5, 6)]) < 1e-4


def test_weights_that_have_no_modules(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    weights = [initialiser(name, torch.randn(8, 8)) for name in "ab"]
    path = save(tmp_path / "m.onnx", model(nodes, weights, inputs=["x"]))
    assert opened(path).wiring.groups["a"].actions == ("permute", "scale")
    assert moved(path, [torch.randn(5, 8)]) < 1e-4


@pytest.mark.parametrize("name", ["relu_chain", "numbered_layers", "square_all_through", "deep_linear"])
def test_a_vector_is_had_by_what_every_format_holds(name: str, tmp_path: Path) -> None:
    path, _ = graph_of(name, tmp_path / "model.onnx")
    torch.save(PLAIN[name].build().state_dict(), tmp_path / "model.pt")
    of_graph, of_tensors = opened(path), opened(tmp_path / "model.pt")
    assert of_graph.common == of_tensors.wiring == of_tensors.common
    assert of_graph.wiring != of_graph.common
    assert of_graph.common_reason == of_tensors.reason
