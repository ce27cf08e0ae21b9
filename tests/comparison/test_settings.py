"""What stands beside the weights and belongs to the function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from gguf import GGUFWriter
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from peace_pipeline.comparison.settings import GRAPHS_ALIKE, SETTINGS_ALIKE, adapter_scales, differences
from peace_pipeline.comparison.verdict import compare
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.opening import open_network
from tests.lakes import write_model

State = dict[str, torch.Tensor]


def mlp() -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc1.weight": (16, 8), "fc1.bias": (16,), "fc2.weight": (4, 16), "fc2.bias": (4,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def adapter(folder: Path, config: dict[str, Any] | None, state: State) -> Path:
    folder.mkdir()
    save_file(state, folder / "adapter_model.safetensors")
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def pair(*, strength: float = 1.0) -> State:
    generator = torch.Generator().manual_seed(0)
    module = "base_model.model.layers.0.q_proj"
    return {
        f"{module}.lora_A.weight": torch.randn(4, 32, generator=generator),
        f"{module}.lora_B.weight": strength * torch.randn(48, 4, generator=generator),
    }


@pytest.mark.parametrize(
    ("key", "values", "verdict"),
    [
        ("hidden_act", ("relu", "gelu"), "derived"),
        ("temperature", (1.0, 0.07), "derived"),
        ("scale_factor", (2, 4), "derived"),
        ("rms_norm_eps", (1e-5, 9.999999747378752e-06), "identical"),
        ("torch_dtype", ("float32", "float16"), "identical"),
        ("hidden_dropout_prob", (0.1, 0.0), "identical"),
        ("transformers_version", ("4.30.0", "5.0.0"), "identical"),
    ],
)
def test_equal_files_with_another_config_say_so(
    lake: Lake, tmp_path: Path, key: str, values: tuple[Any, Any], verdict: str
) -> None:
    a, b = (
        write_model(tmp_path / name, mlp(), {key: value}) for name, value in zip("ab", values, strict=True)
    )
    found = compare(lake, str(a), str(b))
    assert found["verdict"] == verdict
    if verdict == "derived":
        assert found["relation"] == "another config"
        assert found["reason"].startswith(f"weights identical, config differs: {key}")
        assert found["similarity"] == 1


def test_another_config_of_weights_that_are_equal_in_one_form(lake: Lake, tmp_path: Path) -> None:
    state = mlp()
    halves = {name: value.half().float() for name, value in state.items()}
    a = write_model(tmp_path / "a", halves, {"model_type": "llama", "rms_norm_eps": 1e-5})
    b = write_model(
        tmp_path / "b",
        {n: x.half() for n, x in halves.items()},
        {"model_type": "llama", "rms_norm_eps": 1e-6},
    )
    found = compare(lake, str(a), str(b))
    assert (found["verdict"], found["relation"]) == ("derived", "another config")
    assert "rms_norm_eps" in found["reason"]


def test_what_a_class_takes_by_default_is_no_difference(lake: Lake, tmp_path: Path) -> None:
    configs: list[dict[str, Any]] = [
        {"model_type": "llama", "rope_theta": 10000.0, "attention_bias": False},
        {"model_type": "llama", "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
    ]
    paths = [write_model(tmp_path / str(i), mlp(), config) for i, config in enumerate(configs)]
    with open_network(lake, str(paths[0])) as a, open_network(lake, str(paths[1])) as b:
        assert differences(a, b) == []


SHORT, LENGTH = {"max_position_embeddings": 64}, {"max_position_embeddings": 128}
YARN = {"model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_type": "yarn"}}}
LONG = {"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.0}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"model_type": "llama"}, {"model_type": "gemma"}, "model_type"),
        ({"model_type": "llama"}, {"model_type": "mistral", "sliding_window": None}, ""),
        ({"model_type": "llama"}, {"model_type": "mistral", "sliding_window": 4}, "sliding_window"),
        ({"model_type": "llama"}, {"hidden_act": "silu"}, ""),
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
            {
                "model_type": "llama",
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
            },
            "partial_rotary_factor",
        ),
        (
            {"model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
            {"model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
            "rope_parameters.full_attention.rope_theta",
        ),
        (LONG, {"model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, ""),
        ({"model_type": "llama"}, {"model_type": "mistral"}, "sliding_window (null, 4096)"),
        ({"model_type": "llama", "hidden_size": 64}, {"model_type": "llama", "head_dim": 16}, ""),
        ({"dataset": "a"}, {"hidden_act": "tanh"}, "hidden_act"),
        ({"dataset": "a"}, {"dataset": "a", "library": "b"}, ""),
        (YARN | SHORT, YARN | LENGTH, "max_position_embeddings"),
        (LONG | SHORT, LONG | LENGTH, "max_position"),
        ({"model_type": "llama"} | SHORT, {"model_type": "llama"} | LENGTH, ""),
        (
            {"architecture": "resnet18"},
            {"architecture": "resnet18", "model_args": {"act": "silu"}},
            "model_args",
        ),
        (
            {"architecture": "resnet18", "model_args": {}},
            {"architecture": "resnet18", "model_args": {"act": "silu"}},
            "model_args.act",
        ),
    ],
)
def test_settings_of_one_class_and_of_others(
    lake: Lake, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], expected: str
) -> None:
    folders = [write_model(tmp_path / name, mlp(), each) for name, each in (("a", first), ("b", second))]
    with open_network(lake, str(folders[0])) as a, open_network(lake, str(folders[1])) as b:
        found = differences(a, b)
    assert [each.startswith(expected) for each in found] == ([True] if expected else [])


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 4, "lora_alpha": 16}, 4.0),
        ({"r": 4, "lora_alpha": 16, "use_rslora": True}, 8.0),
        ({"lora_alpha": 16, "alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"lora_parameters": {"scale": 20.0}}, 20.0),
        ({}, None),
        (None, None),
    ],
)
def test_scales_of_adapters(
    lake: Lake, tmp_path: Path, config: dict[str, Any] | None, scale: float | None
) -> None:
    with open_network(lake, str(adapter(tmp_path / "a", config, pair()))) as network:
        assert list(adapter_scales(network).values()) == [scale]


def test_adapters_are_compared_as_they_are_scaled(lake: Lake, tmp_path: Path) -> None:
    weak = adapter(tmp_path / "weak", {"lora_alpha": 4}, pair())
    strong = adapter(tmp_path / "strong", {"lora_alpha": 16}, pair())
    same = adapter(tmp_path / "same", {"lora_alpha": 16}, pair(strength=0.25))
    unsaid = adapter(tmp_path / "unsaid", None, pair())
    found = compare(lake, str(weak), str(strong))
    assert (found["verdict"], found["reason"]) == (
        "derived",
        "weights identical, config differs: lora_alpha (4, 16)",
    )
    silent = adapter(tmp_path / "silent", None, pair())
    found = compare(lake, str(weak), str(silent))
    assert (found["verdict"], "scale" in found["assumes"][0]) == ("identical", True)
    stable = adapter(tmp_path / "stable", {"lora_alpha": 4, "use_rslora": True}, pair())
    found = compare(lake, str(weak), str(stable))
    assert (found["verdict"], found["reason"].split(": ")[1]) == ("derived", "scale of adapters (1, 2)")
    assert compare(lake, str(weak), str(same))["verdict"] == "equivalent"
    assert compare(lake, str(strong), str(same))["verdict"] == "derived"
    save_file(
        {k.removeprefix("base_model.model."): x for k, x in pair().items()},
        unsaid / "adapter_model.safetensors",
    )
    found = compare(lake, str(weak), str(unsaid))
    assert found["verdict"] == "equivalent"
    assert "scale" in found["assumes"][-1]


def test_a_scalar_belongs_to_the_function(lake: Lake, tmp_path: Path) -> None:
    states = [mlp() | {"logit_scale": torch.tensor(value)} for value in (2.0, 3.0)]
    a, b = (write_model(tmp_path / name, state) for name, state in zip("ab", states, strict=True))
    c = write_model(tmp_path / "c", {n: x.double() for n, x in states[0].items()})
    found = compare(lake, str(a), str(b))
    assert found["verdict"] == "derived"
    assert found["layers"][-1]["a"] == "logit_scale"
    assert compare(lake, str(a), str(c))["verdict"] == "equivalent"
    d = write_model(tmp_path / "d", {n: x.double() for n, x in mlp().items()})
    assert compare(lake, str(a), str(d))["verdict"] == "derived"


@pytest.mark.parametrize(
    ("config", "key", "matters"),
    [
        ({"model_type": "xlm-roberta"}, "pad_token_id", True),
        ({"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"]}, "pad_token_id", True),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "pad_token_id", False),
        ({"model_type": "clip"}, "eos_token_id", True),
        ({"model_type": "llama"}, "eos_token_id", False),
        ({"model_type": "bert"}, "output_attentions", False),
        ({"model_type": "mobilenet_v2"}, "output_stride", True),
    ],
)
def test_words_that_pad_or_end_matter_where_outputs_depend_on_them(
    lake: Lake, tmp_path: Path, config: dict[str, Any], key: str, matters: bool
) -> None:
    folders = [write_model(tmp_path / str(value), mlp(), {**config, key: value}) for value in (1, 5)]
    with open_network(lake, str(folders[0])) as a, open_network(lake, str(folders[1])) as b:
        assert bool(differences(a, b)) is matters


@pytest.mark.parametrize(("key", "matters"), [("rope.freq_base", True), ("context_length", False)])
def test_metadata_of_gguf_files(lake: Lake, tmp_path: Path, key: str, matters: bool) -> None:
    paths = [tmp_path / f"{value}.gguf" for value in (1000, 5000)]
    for path, value in zip(paths, (1e3, 5e3), strict=True):
        writer = GGUFWriter(path, "llama")
        writer.add_float32(f"llama.{key}", value)
        for name, tensor in mlp().items():
            writer.add_tensor(name, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    found = compare(lake, *map(str, paths))
    assert found["verdict"] == ("derived" if matters else "identical")
    assert (key in found["reason"]) is matters


@pytest.mark.parametrize(("activation", "matters"), [("Relu", False), ("Tanh", True)])
def test_the_graph_of_onnx_files_belongs_to_the_function(
    lake: Lake, tmp_path: Path, activation: str, matters: bool
) -> None:
    paths = []
    for name, function in (("a", "Relu"), ("b", activation)):
        nodes = [
            helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["h"], transB=1),
            helper.make_node(function, ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "fc2.weight", "fc2.bias"], ["y"], transB=1),
        ]
        ends = [
            [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1, size])]
            for end, size in (("x", 8), ("y", 4))
        ]
        tensors = [numpy_helper.from_array(tensor.numpy(), key) for key, tensor in mlp().items()]
        paths.append(tmp_path / f"{name}.onnx")
        onnx.save(helper.make_model(helper.make_graph(nodes, "g", *ends, tensors)), paths[-1])
    found = compare(lake, *map(str, paths))
    assert found["verdict"] == ("derived" if matters else "identical")
    assert ("Relu (1 times, 0 times)" in found["reason"]) is matters


def test_onnx_files_of_other_operators_are_alike_only_by_assumption(lake: Lake, tmp_path: Path) -> None:
    """Whether outputs are scaled, say, no tensor of a layer tells."""
    paths = []
    for name, scale in (("a", None), ("b", 3.0), ("c", 3.0)):
        nodes = [
            helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["h"], transB=1),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node(
                "Gemm", ["r", "fc2.weight", "fc2.bias"], ["y" if scale is None else "s"], transB=1
            ),
        ]
        tensors = [numpy_helper.from_array(tensor.numpy(), key) for key, tensor in mlp().items()]
        if scale is not None:
            nodes += [
                helper.make_node("Constant", [], ["k"], value_float=scale),
                helper.make_node("Mul", ["s", "k"], ["y"]),
            ]
        ends = [
            [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1, size])]
            for end, size in (("x", 8), ("y", 4))
        ]
        paths.append(str(tmp_path / f"{name}.onnx"))
        onnx.save(helper.make_model(helper.make_graph(nodes, "g", *ends, tensors)), paths[-1])
    assert compare(lake, *paths[:2])["assumes"] == [GRAPHS_ALIKE]
    assert "assumes" not in compare(lake, *paths[1:])


def test_weights_alone_have_the_settings_of_the_other_by_assumption(lake: Lake, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a", mlp(), {"hidden_act": "relu"})
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((folder / "model.safetensors").read_bytes())
    found = compare(lake, str(folder), str(bare))
    assert (found["verdict"], found["assumes"]) == ("identical", [SETTINGS_ALIKE])
    assert SETTINGS_ALIKE in found["reason"]
    assert "assumes" not in compare(lake, str(bare), str(bare))
