"""Sample files: the same tensors, or the same small network, written in every format by the library that owns it."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

State = Mapping[str, torch.Tensor]
Modules = Mapping[str, nn.Module]
"""A network as its modules by name, in the order of data flow."""

EPS = 1e-5


def _modules(seed: int, **modules: nn.Module) -> Modules:
    generator = torch.Generator().manual_seed(seed)
    for module in modules.values():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.25)
    return modules


def mlp() -> Modules:
    return _modules(1, fc1=nn.Linear(6, 5), fc2=nn.Linear(5, 4), fc3=nn.Linear(4, 3))


def cnn(eps: float = EPS) -> Modules:
    """Convolutions with BatchNorm; a mean over the image stands before the last layer."""
    return _modules(
        2,
        conv1=nn.Conv2d(3, 4, 3, bias=False),
        bn1=nn.BatchNorm2d(4, eps=eps),
        conv2=nn.Conv2d(4, 6, (1, 2)),
        bn2=nn.BatchNorm2d(6, eps=eps),
        fc=nn.Linear(6, 3),
    )


def recurrent() -> Modules:
    return _modules(
        3,
        embedding=nn.Embedding(7, 5),
        lstm=nn.LSTM(5, 4, bias=False, batch_first=True),
        fc=nn.Linear(4, 3),
    )


def attention() -> Modules:
    """The weights of an attention layer; for the formats' sake its parts stand one after another."""
    parts = {f"{part}_proj": nn.Linear(6, 6) for part in "qkvo"}
    return _modules(
        4, embedding=nn.Embedding(9, 6), **parts, norm=nn.LayerNorm(6, eps=EPS), head=nn.Linear(6, 9)
    )


NETWORKS: dict[str, Callable[[], Modules]] = {
    "mlp": mlp,
    "cnn": cnn,
    "recurrent": recurrent,
    "attention": attention,
}


def state_of(modules: Modules) -> dict[str, torch.Tensor]:
    """The network's state dictionary, without counts of batches."""
    return {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
        if value.dim()
    }


def as_module(modules: Modules) -> nn.Module:
    """One module that holds the others; it computes nothing."""
    module = nn.Module()
    for name, part in modules.items():
        module.add_module(name, part)
    return module.eval()


# safetensors


def safetensors(state: State, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


# PyTorch


def torch_zip(state: State, path: Path) -> Path:
    torch.save(dict(state), path)
    return path


def torch_legacy(state: State, path: Path) -> Path:
    torch.save(dict(state), path, _use_new_zipfile_serialization=False)
    return path


def torch_module(modules: Modules, path: Path) -> Path:
    torch.save(as_module(modules), path)
    return path


def torchscript(state: State, path: Path) -> Path:
    root = nn.Module()
    for name, value in state.items():
        *parents, own = name.split(".")
        module = root
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.register_buffer(own, value)
    return _scripted(root, path)


def torchscript_network(modules: Modules, path: Path) -> Path:
    return _scripted(as_module(modules), path)


def _scripted(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


# ONNX

_ONNX_TYPES = {
    torch.float64: TensorProto.DOUBLE,
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.float8_e4m3fn: TensorProto.FLOAT8E4M3FN,
    torch.float8_e5m2: TensorProto.FLOAT8E5M2,
    torch.int64: TensorProto.INT64,
}


def onnx(state: State, path: Path) -> Path:
    return _onnx_model([], state, path)


def onnx_network(modules: Modules, path: Path) -> Path:
    nodes, constants = [], dict[str, torch.Tensor]()
    flow = "input"
    for name, module in modules.items():
        operator, attributes, parameters = _onnx_node(name, module)
        constants |= parameters
        inputs = [*parameters, flow] if operator == "Gather" else [flow, *parameters]
        nodes.append(helper.make_node(operator, inputs, [f"/{name}/y"], f"/{name}/{operator}", **attributes))
        flow = f"/{name}/y"
    return _onnx_model(nodes, constants, path)


def _onnx_node(name: str, module: nn.Module) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    state = state_of({name: module})
    match module:
        case nn.Linear():
            return "Gemm", {"transB": 1}, state
        case nn.Conv2d():
            return "Conv", {}, state
        case nn.BatchNorm2d():
            return "BatchNormalization", {"epsilon": module.eps}, state
        case nn.LayerNorm():
            return "LayerNormalization", {"epsilon": module.eps}, state
        case nn.Embedding():
            return "Gather", {}, state
        case nn.LSTM():
            gates = {
                kind: state[f"{name}.weight_{of}_l0"].chunk(4) for kind, of in (("W", "ih"), ("R", "hh"))
            }
            stacked = {
                f"{name}.{kind}": torch.cat([i, o, f, g])[None] for kind, (i, f, g, o) in gates.items()
            }
            return "LSTM", {"hidden_size": module.hidden_size}, stacked
    raise NotImplementedError(type(module))


def _onnx_model(nodes: list[Any], constants: State, path: Path) -> Path:
    tensors = [
        helper.make_tensor(name, _ONNX_TYPES[value.dtype], value.shape, _bytes(value), raw=True)
        for name, value in constants.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    path.write_bytes(model.SerializeToString())
    return path


def _bytes(value: torch.Tensor) -> bytes:
    return value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


# HDF5 and Keras


def hdf5(state: State, path: Path) -> Path:
    with h5py.File(path, "w") as file:
        _datasets(file, state)
    return path


def _datasets(file: h5py.File, state: State) -> None:
    """Each tensor under its name with slashes for dots; one that is there before is a hard link to it."""
    written: dict[int, str] = {}
    for name, value in state.items():
        key = name.replace(".", "/")
        if value.data_ptr() in written:
            file[key] = file[written[value.data_ptr()]]
        elif value.dtype is torch.bfloat16:
            file[key] = value.view(torch.uint8).numpy().view("V2").reshape(value.shape)
            file[key].attrs["dtype"] = "bfloat16"
        else:
            file[key] = value.numpy()
        written.setdefault(value.data_ptr(), key)


def keras(state: State, path: Path) -> Path:
    return _keras_archive(
        {"class_name": "Functional", "config": {}}, lambda file: _datasets(file, state), path
    )


def keras_network(modules: Modules, path: Path) -> Path:
    """What Keras 3's ``model.save("….keras")`` writes of a sequential model."""

    def fill(file: h5py.File) -> None:
        counts: dict[str, int] = {}
        for name, module in modules.items():
            kind, variables = _KERAS_KEYS[type(module)], keras_variables(module)
            number = counts[kind] = counts.get(kind, -1) + 1
            group = f"layers/{kind}_{number}" if number else f"layers/{kind}"
            file.create_group(f"{group}/vars").attrs["name"] = name
            inner = f"{group}/cell/vars" if kind == "lstm" else f"{group}/vars"
            for place, value in enumerate(variables.values()):
                file[f"{inner}/{place}"] = value

    return _keras_archive(_keras_config(modules), fill, path)


def keras_hdf5(modules: Modules, path: Path) -> Path:
    """What Keras' ``model.save("….h5")`` writes of a sequential model."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "3.12.0", "torch"
        file.attrs["model_config"] = json.dumps(_keras_config(modules))
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [name.encode() for name in modules]
        for name, module in modules.items():
            layer, variables = weights.create_group(name), keras_variables(module)
            within = f"{name}/lstm_cell" if isinstance(module, nn.LSTM) else name
            layer.attrs["weight_names"] = [f"{within}/{variable}".encode() for variable in variables]
            for variable, value in variables.items():
                layer[f"{within}/{variable}"] = value
    return path


_KERAS_KEYS = {
    nn.Linear: "dense",
    nn.Conv2d: "conv2d",
    nn.BatchNorm2d: "batch_normalization",
    nn.LayerNorm: "layer_normalization",
    nn.Embedding: "embedding",
    nn.LSTM: "lstm",
}


def _keras_archive(config: dict[str, Any], fill: Callable[[h5py.File], None], path: Path) -> Path:
    weights = BytesIO()
    with h5py.File(weights, "w") as file:
        fill(file)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.12.0"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def keras_variables(module: nn.Module) -> dict[str, np.ndarray]:
    """A layer's variables in Keras' names, order and layout."""
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    match module:
        case nn.Linear():
            return {"kernel": state["weight"].T, "bias": state["bias"]}
        case nn.Conv2d():
            bias = {"bias": state["bias"]} if "bias" in state else {}
            return {"kernel": state["weight"].transpose(2, 3, 1, 0), **bias}
        case nn.BatchNorm2d():
            names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
            return {key: state[name] for key, name in (names | {"moving_variance": "running_var"}).items()}
        case nn.LayerNorm():
            return {"gamma": state["weight"], "beta": state["bias"]}
        case nn.Embedding():
            return {"embeddings": state["weight"]}
        case nn.LSTM():
            return {"kernel": state["weight_ih_l0"].T, "recurrent_kernel": state["weight_hh_l0"].T}
    raise NotImplementedError(type(module))


def _keras_config(modules: Modules) -> dict[str, Any]:
    layers = [_keras_input(next(iter(modules.values())))]
    for name, module in modules.items():
        kind, settings = _keras_layer(module)
        layers.append({"module": "keras.layers", "class_name": kind, "config": {"name": name} | settings})
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}


def _keras_input(first: nn.Module) -> dict[str, Any]:
    shape = [8, 8, first.in_channels] if isinstance(first, nn.Conv2d) else [getattr(first, "in_features", 4)]
    dtype = "int32" if isinstance(first, nn.Embedding) else "float32"
    config = {"batch_shape": [None, *shape], "dtype": dtype, "name": "input"}
    return {"module": "keras.layers", "class_name": "InputLayer", "config": config}


def _keras_layer(module: nn.Module) -> tuple[str, dict[str, Any]]:
    match module:
        case nn.Linear():
            return "Dense", {"units": module.out_features}
        case nn.Conv2d():
            size = {"filters": module.out_channels, "kernel_size": list(module.kernel_size)}
            return "Conv2D", size | {"use_bias": module.bias is not None}
        case nn.BatchNorm2d():
            return "BatchNormalization", {"epsilon": module.eps}
        case nn.LayerNorm():
            return "LayerNormalization", {"epsilon": module.eps}
        case nn.Embedding():
            return "Embedding", {"input_dim": module.num_embeddings, "output_dim": module.embedding_dim}
        case nn.LSTM():
            return "LSTM", {"units": module.hidden_size, "use_bias": False, "return_sequences": True}
    raise NotImplementedError(type(module))


# GGUF


def gguf(state: State, path: Path) -> Path:
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, "network")
    for name, value in state.items():
        if value.dtype is torch.bfloat16:
            raw = value.view(torch.uint8).numpy().reshape(*value.shape[:-1], 2 * value.shape[-1])
            writer.add_tensor(name, raw, raw_dtype=GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _of_state(write: Callable[[State, Path], Path]) -> Callable[[Modules, Path], Path]:
    return lambda modules, path: write(state_of(modules), path)


_FLOATS = (torch.float64, torch.float32, torch.float16)
_FLOATS_8 = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Format:
    """How files of a format are written.

    ``reader`` is its key among the readers; ``state`` writes tensors under these names, ``network`` modules, with a
    norm's epsilon where the format has a place for it (``has_eps``); ``shares`` is whether one tensor can have names.
    """

    reader: str
    suffix: str
    state: Callable[[State, Path], Path]
    network: Callable[[Modules, Path], Path]
    dtypes: tuple[torch.dtype, ...] = (*_FLOATS, torch.bfloat16)
    has_eps: bool = False
    shares: bool = False


FORMATS = {
    "safetensors": Format(
        "safetensors",
        ".safetensors",
        safetensors,
        _of_state(safetensors),
        (*_FLOATS, torch.bfloat16, *_FLOATS_8),
    ),
    "pytorch": Format(
        "pytorch",
        ".pt",
        torch_zip,
        torch_module,
        (*_FLOATS, torch.bfloat16, *_FLOATS_8),
        has_eps=True,
        shares=True,
    ),
    "pytorch legacy": Format("pytorch", ".bin", torch_legacy, _of_state(torch_legacy), shares=True),
    "torchscript": Format("torchscript", ".jit", torchscript, torchscript_network, has_eps=True, shares=True),
    "onnx": Format("onnx", ".onnx", onnx, onnx_network, (*_FLOATS, torch.bfloat16, *_FLOATS_8), has_eps=True),
    "hdf5": Format("hdf5", ".h5", hdf5, keras_hdf5, has_eps=True, shares=True),
    "keras": Format("keras", ".keras", keras, keras_network, has_eps=True, shares=True),
    "gguf": Format("gguf", ".gguf", gguf, _of_state(gguf)),
}
