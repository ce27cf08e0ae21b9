"""Keras networks: PyTorch's layers with the weights that are read give what Keras' own give, from whatever file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from tests.weights.formats.keras_models import SUFFIXES, Tensors, read_all, saved

pytestmark = pytest.mark.filterwarnings("ignore")

Map = Callable[[torch.Tensor], torch.Tensor]


def randomised(model: keras.Model) -> keras.Model:
    """The network with weights that are no layer's initial ones; variances are positive."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


def loaded(module: nn.Module, tensors: Tensors, prefix: str = "x.") -> nn.Module:
    """A PyTorch module in evaluation mode with a layer's tensors; Keras' LSTM has one bias, the other is zero."""
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for name, value in module.state_dict().items():
        if name.startswith("bias_hh") or name == "num_batches_tracked":
            state.setdefault(name, torch.zeros_like(value))
    module.load_state_dict(state)
    return module.eval()


def channels_first(module: nn.Module) -> Map:
    return lambda x: module(x.movedim(-1, 1)).movedim(1, -1)


def sequence(module: nn.Module) -> Map:
    return lambda x: module(x)[0]


def separable(tensors: Tensors) -> Map:
    depthwise = loaded(nn.Conv2d(3, 6, 3, groups=3, bias=False), tensors, "x.depthwise.")
    pointwise = loaded(nn.Conv2d(6, 5, 1), tensors, "x.pointwise.")
    return channels_first(nn.Sequential(depthwise, pointwise))


def attention(tensors: Tensors) -> Map:
    module = nn.MultiheadAttention(3, 3, batch_first=True)
    parts = ("query", "key", "value")
    state = {"in_proj_weight": torch.cat([tensors[f"x.{part}.weight"] for part in parts])}
    state |= {"in_proj_bias": torch.cat([tensors[f"x.{part}.bias"] for part in parts])}
    state |= {f"out_proj.{name}": tensors[f"x.attention_output.{name}"] for name in ("weight", "bias")}
    module.load_state_dict(state)
    return lambda x: module(x, x, x)[0]


IMAGE, SERIES, ROW = (7, 8, 3), (9, 3), (3,)

KINDS: dict[str, tuple[Callable[[], keras.Layer], tuple[int, ...], Callable[[Tensors], Map]]] = {
    "dense": (lambda: layers.Dense(4, name="x"), ROW, lambda t: loaded(nn.Linear(3, 4), t)),
    "dense without bias": (
        lambda: layers.Dense(4, use_bias=False, name="x"),
        ROW,
        lambda t: loaded(nn.Linear(3, 4, bias=False), t),
    ),
    "einsum": (
        lambda: layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d", name="x"),
        SERIES,
        lambda t: loaded(nn.Linear(3, 4), t),
    ),
    "einsum to heads": (
        lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="de", name="x"),
        SERIES,
        lambda t: lambda x: loaded(nn.Linear(3, 10), t)(x).unflatten(-1, (2, 5)),
    ),
    "conv1d": (
        lambda: layers.Conv1D(4, 3, name="x"),
        SERIES,
        lambda t: channels_first(loaded(nn.Conv1d(3, 4, 3), t)),
    ),
    "conv2d": (
        lambda: layers.Conv2D(4, (3, 2), name="x"),
        IMAGE,
        lambda t: channels_first(loaded(nn.Conv2d(3, 4, (3, 2)), t)),
    ),
    "grouped conv2d": (
        lambda: layers.Conv2D(6, 3, groups=3, name="x"),
        IMAGE,
        lambda t: channels_first(loaded(nn.Conv2d(3, 6, 3, groups=3), t)),
    ),
    "conv3d": (
        lambda: layers.Conv3D(4, (1, 2, 3), name="x"),
        (4, 5, 6, 3),
        lambda t: channels_first(loaded(nn.Conv3d(3, 4, (1, 2, 3)), t)),
    ),
    "depthwise": (
        lambda: layers.DepthwiseConv2D((3, 2), depth_multiplier=2, name="x"),
        IMAGE,
        lambda t: channels_first(loaded(nn.Conv2d(3, 6, (3, 2), groups=3), t)),
    ),
    "separable": (lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, name="x"), IMAGE, separable),
    "transposed": (
        lambda: layers.Conv2DTranspose(4, (3, 2), strides=2, name="x"),
        IMAGE,
        lambda t: channels_first(loaded(nn.ConvTranspose2d(3, 4, (3, 2), stride=2), t)),
    ),
    "transposed 1d": (
        lambda: layers.Conv1DTranspose(4, 3, name="x"),
        SERIES,
        lambda t: channels_first(loaded(nn.ConvTranspose1d(3, 4, 3), t)),
    ),
    "batch norm": (
        lambda: layers.BatchNormalization(epsilon=0.01, name="x"),
        IMAGE,
        lambda t: channels_first(loaded(nn.BatchNorm2d(3, eps=0.01), t)),
    ),
    "layer norm": (
        lambda: layers.LayerNormalization(name="x"),
        SERIES,
        lambda t: loaded(nn.LayerNorm(3, eps=1e-3), t),
    ),
    "group norm": (
        lambda: layers.GroupNormalization(3, name="x"),
        IMAGE,
        lambda t: channels_first(loaded(nn.GroupNorm(3, 3, eps=1e-3), t)),
    ),
    "rms norm": (
        lambda: layers.RMSNormalization(epsilon=1e-6, name="x"),
        SERIES,
        lambda t: loaded(nn.RMSNorm(3, eps=1e-6), t),
    ),
    "lstm": (
        lambda: layers.LSTM(4, return_sequences=True, name="x"),
        SERIES,
        lambda t: sequence(loaded(nn.LSTM(3, 4, batch_first=True), t)),
    ),
    "gru": (
        lambda: layers.GRU(4, return_sequences=True, name="x"),
        SERIES,
        lambda t: sequence(loaded(nn.GRU(3, 4, batch_first=True), t)),
    ),
    "rnn": (
        lambda: layers.SimpleRNN(4, return_sequences=True, name="x"),
        SERIES,
        lambda t: sequence(loaded(nn.RNN(3, 4, batch_first=True), t)),
    ),
    "bidirectional lstm": (
        lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="x"),
        SERIES,
        lambda t: sequence(loaded(nn.LSTM(3, 4, batch_first=True, bidirectional=True), t)),
    ),
    "bidirectional gru": (
        lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), name="x"),
        SERIES,
        lambda t: sequence(loaded(nn.GRU(3, 4, batch_first=True, bidirectional=True), t)),
    ),
    "rnn of a cell": (
        lambda: layers.RNN(layers.LSTMCell(4), return_sequences=True, name="x"),
        SERIES,
        lambda t: sequence(loaded(nn.LSTM(3, 4, batch_first=True), t)),
    ),
    "time distributed": (
        lambda: layers.TimeDistributed(layers.Dense(4), name="x"),
        SERIES,
        lambda t: loaded(nn.Linear(3, 4), t),
    ),
    "attention": (lambda: layers.MultiHeadAttention(3, 1, name="x"), SERIES, attention),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    build, shape, as_torch = KINDS[request.param]
    inputs = keras.Input(shape)
    layer = build()
    outputs = layer(inputs, inputs) if isinstance(layer, layers.MultiHeadAttention) else layer(inputs)
    model = randomised(keras.Model(inputs, outputs))
    folder = tmp_path_factory.mktemp("kind")
    return model, shape, as_torch, {suffix: saved(model, folder / f"m{suffix}") for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pytorch_computes_what_keras_does(kind: Any, suffix: str) -> None:
    model, shape, as_torch, paths = kind
    x = torch.rand(2, *shape)
    with torch.no_grad():
        expected = torch.as_tensor(model(x, training=False).detach().cpu())
        found = as_torch(read_all(paths[suffix]))(x)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
