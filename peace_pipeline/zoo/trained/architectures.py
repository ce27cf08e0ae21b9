"""The research zoo's architectures: for each its variants, as config.json, and the ranges of its optimisers."""

from __future__ import annotations

from typing import Any

from .data import LONGEST, VOCABULARY
from .recipes import Optimizer

_ANY = {"num_labels": 10, "torch_dtype": "float32"}
_IMAGE = {"input_shape": [1, 8, 8], "kernel_size": 3, "padding": 1, **_ANY}


def mlp(act: str, *hidden: int) -> dict[str, Any]:
    return {
        "architectures": ["MLP"],
        "model_type": "mlp",
        "input_shape": [64],
        "hidden_sizes": [*hidden],
        "hidden_act": act,
        **_ANY,
    }


def cnn1d(act: str, *channels: int) -> dict[str, Any]:
    return {
        "architectures": ["CNN"],
        "model_type": "cnn",
        "input_shape": [1, 64],
        "kernel_size": 5,
        "padding": 2,
        "channels": [*channels],
        "strides": [2] * len(channels),
        "hidden_act": act,
        **_ANY,
    }


def vgg(act: str, norm: str, *stages: list[int]) -> dict[str, Any]:
    return {
        "architectures": ["VGG"],
        "model_type": "vgg",
        "stages": [*stages],
        "hidden_size": 24,
        "norm": norm,
        "hidden_act": act,
        **_IMAGE,
    }


def resnet(act: str, channels: list[int], depths: list[int]) -> dict[str, Any]:
    return {
        "architectures": ["ResNet"],
        "model_type": "resnet",
        "channels": channels,
        "strides": [1] + [2] * (len(channels) - 1),
        "depths": depths,
        "norm": "batch_norm",
        "hidden_act": act,
        **_IMAGE,
    }


def _transformer(act: str, size: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * size,
        "hidden_act": act,
        "layer_norm_eps": 1e-12,
        **_ANY,
    }


def vit(act: str, size: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "input_shape": [1, 8, 8],
        "image_size": 8,
        "patch_size": 4,
        "num_channels": 1,
        "qkv_bias": True,
        **_transformer(act, size, layers, heads),
    }


def bert(act: str, size: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "input_shape": [LONGEST + 1],
        "vocab_size": VOCABULARY,
        "max_position_embeddings": LONGEST + 1,
        "type_vocab_size": 1,
        **_transformer(act, size, layers, heads),
    }


def recurrent(kind: str, size: int, layers: int) -> dict[str, Any]:
    return {
        "architectures": [kind.upper()],
        "model_type": kind,
        "input_shape": [8, 8],
        "input_size": 8,
        "hidden_size": size,
        "num_layers": layers,
        "hidden_act": "tanh",
        **_ANY,
    }


def recurrent_text(kind: str, size: int, layers: int) -> dict[str, Any]:
    words = {"input_shape": [LONGEST + 1], "vocab_size": VOCABULARY, "input_size": 16}
    return recurrent(kind, size, layers) | words


ARCHITECTURES: dict[str, dict[str, dict[str, Any]]] = {
    "mlp": {
        "relu-32x2": mlp("relu", 32, 32),
        "tanh-24x3": mlp("tanh", 24, 24, 24),
        "gelu-48x1": mlp("gelu", 48),
    },
    "cnn1d": {
        "relu-8-12-16": cnn1d("relu", 8, 12, 16),
        "tanh-12-16": cnn1d("tanh", 12, 16),
        "gelu-8-16-16": cnn1d("gelu", 8, 16, 16),
    },
    "vgg": {
        "relu-8-16": vgg("relu", "none", [8], [16]),
        "tanh-12-12": vgg("tanh", "none", [12], [12]),
        "gelu-8-8-16-norm": vgg("gelu", "batch_norm", [8, 8], [16]),
    },
    "resnet": {
        "relu-8-16": resnet("relu", [8, 16], [1, 1]),
        "tanh-8-12": resnet("tanh", [8, 12], [2, 1]),
        "gelu-12-12": resnet("gelu", [12, 12], [1, 1]),
    },
    "vit": {
        "gelu-24x2": vit("gelu", 24, 2, 4),
        "relu-32x1": vit("relu", 32, 1, 4),
        "tanh-16x3": vit("tanh", 16, 3, 2),
    },
    "lstm": {
        "24x1": recurrent("lstm", 24, 1),
        "32x1": recurrent("lstm", 32, 1),
        "16x2": recurrent("lstm", 16, 2),
    },
    "gru": {
        "24x1": recurrent("gru", 24, 1),
        "32x1": recurrent("gru", 32, 1),
        "16x2": recurrent("gru", 16, 2),
    },
    "bert": {
        "gelu-24x2": bert("gelu", 24, 2, 4),
        "relu-32x1": bert("relu", 32, 1, 4),
        "tanh-24x1": bert("tanh", 24, 1, 2),
    },
    "text-lstm": {
        "24x1": recurrent_text("lstm", 24, 1),
        "32x1": recurrent_text("lstm", 32, 1),
        "16x2": recurrent_text("lstm", 16, 2),
    },
    "text-gru": {
        "24x1": recurrent_text("gru", 24, 1),
        "32x1": recurrent_text("gru", 32, 1),
        "16x2": recurrent_text("gru", 16, 2),
    },
}


def cnn(act: str, *channels: int) -> dict[str, Any]:
    return {
        "architectures": ["CNN"],
        "model_type": "cnn",
        "channels": [*channels],
        "strides": [1] + [2] * (len(channels) - 1),
        "hidden_act": act,
        **_IMAGE,
    }


_TALL = {"input_shape": [16, 4], "input_size": 4}
FURTHER: dict[str, dict[str, dict[str, Any]]] = {
    "mlp": {
        "relu-48x2": mlp("relu", 48, 48),
        "tanh-40x1": mlp("tanh", 40),
        "gelu-24-32-16": mlp("gelu", 24, 32, 16),
        "relu-20x4": mlp("relu", 20, 20, 20, 20),
    },
    "cnn1d": {
        "relu-16-16": cnn1d("relu", 16, 16),
        "tanh-6-12-20": cnn1d("tanh", 6, 12, 20),
        "gelu-10-20-wide": cnn1d("gelu", 10, 20) | {"kernel_size": 7, "padding": 3},
    },
    "cnn": {
        "relu-8-16-20": cnn("relu", 8, 16, 20),
        "tanh-12-16": cnn("tanh", 12, 16),
        "gelu-6-12-12": cnn("gelu", 6, 12, 12),
    },
    "vgg": {
        "relu-6-12-norm": vgg("relu", "batch_norm", [6], [12]),
        "tanh-8-8-12": vgg("tanh", "none", [8, 8], [12]) | {"hidden_size": 20},
        "gelu-10-14": vgg("gelu", "none", [10], [14]),
    },
    "resnet": {
        "relu-12-16": resnet("relu", [12, 16], [1, 1]),
        "tanh-10-10": resnet("tanh", [10, 10], [1, 1]),
        "gelu-6-8-12": resnet("gelu", [6, 8, 12], [1, 1, 1]),
    },
    "vit": {
        "gelu-32x1": vit("gelu", 32, 1, 2),
        "relu-20x2": vit("relu", 20, 2, 2),
        "gelu-16x2-fine": vit("gelu", 16, 2, 4) | {"patch_size": 2},
    },
    "lstm": {
        "20x1": recurrent("lstm", 20, 1),
        "24x1-tall": recurrent("lstm", 24, 1) | _TALL,
        "20x2": recurrent("lstm", 20, 2),
    },
    "gru": {
        "20x1": recurrent("gru", 20, 1),
        "24x1-tall": recurrent("gru", 24, 1) | _TALL,
        "20x2": recurrent("gru", 20, 2),
    },
    "bert": {
        "gelu-32x1": bert("gelu", 32, 1, 2),
        "relu-16x2": bert("relu", 16, 2, 2),
        "tanh-20x1": bert("tanh", 20, 1, 4),
    },
    "text-lstm": {
        "20x1": recurrent_text("lstm", 20, 1),
        "28x1": recurrent_text("lstm", 28, 1),
        "20x2": recurrent_text("lstm", 20, 2),
    },
    "text-gru": {
        "20x1": recurrent_text("gru", 20, 1),
        "28x1": recurrent_text("gru", 28, 1),
        "20x2": recurrent_text("gru", 20, 2),
    },
}
"""More variants, and the demo's plain convolutional network with some of its own: for pretraining alone."""

_BOTH: dict[Optimizer, tuple[float, float]] = {"sgd": (0.03, 0.12), "adamw": (5e-3, 1.5e-2)}
RATES: dict[str, dict[Optimizer, tuple[float, float]]] = {
    "mlp": _BOTH,
    "cnn1d": _BOTH,
    "cnn": _BOTH,
    "vgg": {"sgd": (0.01, 0.04), "adamw": (4e-3, 1.2e-2)},
    "resnet": _BOTH,
    "vit": {"adamw": (7e-3, 2e-2)},
    "bert": {"adamw": (2e-3, 4.5e-3)},
    "lstm": {"adamw": (1.2e-2, 3e-2)},
    "gru": {"adamw": (1.2e-2, 3e-2)},
    "text-lstm": {"adamw": (6e-3, 1.2e-2)},
    "text-gru": {"adamw": (1e-2, 2.5e-2)},
}
"""Learning rates of each optimiser that an architecture is trained with."""
DECAYS: dict[Optimizer, tuple[float, float]] = {"sgd": (3e-4, 5e-3), "adamw": (1e-2, 0.2)}
SCALES = dict.fromkeys(RATES, (0.7, 1.4)) | {"vgg": (0.8, 1.2), "vit": (0.5, 0.9), "bert": (0.5, 0.9)}
"""Initial weights in units of He's."""
