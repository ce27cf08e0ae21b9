"""Sample files: the same tensors, or the same small network, written in every format by the library that owns it."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import msgpack
import numpy as np
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from peace_pipeline.weights.tensors import dtype_name
from tests.weights.keras_corpus import hdf5, keras, keras_hdf5, keras_network
from tests.weights.networks import Modules, State, as_module, state_of

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


def pickled(state: State, path: Path) -> Path:
    path.write_bytes(pickle.dumps(dict(state)))
    return path


def joblib_of_arrays(state: State, path: Path) -> Path:
    joblib.dump({name: value.numpy() for name, value in state.items()}, path)
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


def stable_baselines3(state: State, path: Path) -> Path:
    policy = io.BytesIO()
    torch.save(dict(state), policy)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", policy.getvalue())
        archive.writestr("_stable_baselines3_version", "2.4.0")
    return path


# NumPy and Flax


def npz(state: State, path: Path) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **{name: value.numpy() for name, value in state.items()})
    return path


def flax(state: State, path: Path) -> Path:
    """As ``flax.serialization.msgpack_serialize`` does."""
    tree: dict[str, Any] = {}
    for name, value in state.items():
        *parents, own = name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        array = (tuple(value.shape), dtype_name(value.dtype), _bytes(value))
        place[own] = msgpack.ExtType(1, msgpack.packb(array, use_bin_type=True))
    path.write_bytes(msgpack.packb(tree, strict_types=False))
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
    norm's epsilon where the format has a place for it (``has_eps``); ``shares`` is whether one tensor can have names;
    ``in_memory`` whether all values are had when a file is opened.
    """

    reader: str
    suffix: str
    state: Callable[[State, Path], Path]
    network: Callable[[Modules, Path], Path]
    dtypes: tuple[torch.dtype, ...] = (*_FLOATS, torch.bfloat16)
    has_eps: bool = False
    shares: bool = False
    in_memory: bool = False


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
    "pickle": Format("pytorch", ".pkl", pickled, _of_state(pickled), in_memory=True),
    "joblib": Format(
        "pytorch", ".joblib", joblib_of_arrays, _of_state(joblib_of_arrays), _FLOATS, in_memory=True
    ),
    "torchscript": Format("torchscript", ".jit", torchscript, torchscript_network, has_eps=True, shares=True),
    "onnx": Format("onnx", ".onnx", onnx, onnx_network, (*_FLOATS, torch.bfloat16, *_FLOATS_8), has_eps=True),
    "hdf5": Format("hdf5", ".h5", hdf5, keras_hdf5, has_eps=True, shares=True),
    "keras": Format("keras", ".keras", keras, keras_network, has_eps=True, shares=True),
    "stable-baselines3": Format(
        "stable_baselines3", ".zip", stable_baselines3, _of_state(stable_baselines3), shares=True
    ),
    "npz": Format("npz", ".npz", npz, _of_state(npz), _FLOATS),
    "flax": Format("flax", ".msgpack", flax, _of_state(flax)),
    "gguf": Format("gguf", ".gguf", gguf, _of_state(gguf)),
}

OWN = {"fasttext": ("fasttext", ".bin")}
"""Formats that hold networks of one kind alone → reader and suffix."""
