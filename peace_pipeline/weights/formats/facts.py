"""What is read of each format, in words: the table of docs/formats.md."""

from __future__ import annotations

from typing import NamedTuple

from peace_pipeline.weights.logical.packing import REFUSED, SCHEMES


class Facts(NamedTuple):
    """What is read; which layout becomes PyTorch's; which quantisation becomes numbers; what is read by ranges from a
    Hub; what is refused by name. Empty for none."""

    read: str
    layout: str
    quantisation: str
    by_ranges: str
    refused: str


_AS_IT_IS = "PyTorch's own"
_UNPACKED = (
    ", ".join(scheme.name for scheme in SCHEMES)
    + "; float8 and int8 with scales (and zero points) a tensor, row, column block or group"
)
_REFUSED = ", ".join(dict.fromkeys(REFUSED.values()))
FACTS = {
    "safetensors": Facts("every type that has numbers", _AS_IT_IS, _UNPACKED, "tensors, rows", _REFUSED),
    "pytorch": Facts(
        "state dictionaries, modules, training checkpoints; pickles and joblib's of tensors, arrays, perceptrons",
        "PyTorch's own; scikit-learn's and Paddle's layers (in, out)",
        f"PyTorch's qint8, quint8, qint32; {_UNPACKED}",
        "",
        f"classes of their own, sparse and nested tensors, arrays of objects; {_REFUSED}",
    ),
    "torchscript": Facts("scripted and traced modules", _AS_IT_IS, "PyTorch's qint8 and quint8", "", "frozen modules"),
    "onnx": Facts(
        "initialisers and constants, external data",
        "products (in, out), gates (i, o, f, c), transposes",
        "DequantizeLinear (Gather before it, too), QLinear*, QGemm, *Integer, DynamicQuantizeMatMul, MatMulNBits",
        "",
        "types of less than 8 bits, DequantizeLinear by blocks, sparse tensors",
    ),
    "hdf5": Facts("Keras 2's weights and models", "kernels (*kernel, in, out), gates", "", "", "quantised layers"),
    "keras": Facts("Keras 3's models and weights", "kernels (*kernel, in, out), gates", "", "", "quantised layers"),
    "gguf": Facts(
        "every tensor", "axes reversed, rows of queries and keys", "all types of ggml with values", "", "unknown types"
    ),
    "npz": Facts("archives of arrays", "kernels of Flax and Keras", "", "", "arrays of objects"),
    "flax": Facts("msgpack", "kernels (*kernel, in, out), heads", "", "", "other types"),
    "fasttext": Facts("embeddings and the output's weights", _AS_IT_IS, "", "", "quantised models"),
    "stable_baselines3": Facts("the policy", _AS_IT_IS, "", "", "compressed archives"),
}  # fmt: skip
"""Format → its row."""
