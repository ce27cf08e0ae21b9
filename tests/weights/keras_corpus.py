"""Sample files of HDF5 and Keras: what the libraries write of tensors, or of a small network."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from tests.weights.networks import Modules, State


def hdf5(state: State, path: Path) -> Path:
    with h5py.File(path, "w") as file:
        datasets(file, state)
    return path


def datasets(file: h5py.File, state: State) -> None:
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
        {"class_name": "Functional", "config": {}}, lambda file: datasets(file, state), path
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
