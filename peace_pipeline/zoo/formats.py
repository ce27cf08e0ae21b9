"""The formats of weight files by the names that these have."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

FORMATS = {
    ".safetensors": "safetensors",
    ".bin": "pytorch",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".ckpt": "pytorch",
    ".ptl": "pytorch",
    ".pdparams": "pytorch",
    ".tar": "pytorch",
    ".pkl": "pytorch",
    ".pickle": "pytorch",
    ".joblib": "pytorch",
    ".model": "pytorch",
    ".jit": "torchscript",
    ".onnx": "onnx",
    ".keras": "keras",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".gguf": "gguf",
    ".npz": "npz",
    ".msgpack": "flax",
    ".ftz": "fasttext",
    ".zip": "stable_baselines3",
    ".tflite": "tflite",
}
"""File suffix → format, in the order in which a folder that holds several is read: formats with a reader first."""

TEXT, UNKNOWN = "text", "unknown"
"""Formats of what describes a model, and of weights whose names tell none."""

DATA = {".npz", ".pkl", ".pickle", ".joblib"}
"""Suffixes of files in which people keep weights and any other data alike."""

AMBIGUOUS = DATA | {".tar", ".model", ".zip", ""}
"""Suffixes of files that may be anything: their content has to tell that they are weights."""

_STEP = re.compile(r"\.(ckpt-)?\d+")
_TRAINING_STATE = re.compile(
    r"(training_args|.*optim(i[sz]er)?(_states)?|scheduler|scaler|rng_state(_\d+)?|random_states_\d+|pytorch_variables"
    r"|openvino_(de)?tokenizer)\.(bin|pt|pth|pkl)|events\.out\.tfevents\..*"
)
_CALLED_TAR = re.compile(r".+\.(pth?|ckpt)\.tar", re.IGNORECASE)
"""What many a training calls its checkpoints, which are none of tar."""


def format_of(name: str) -> str:
    """The format that a file's suffix stands for; ``unknown`` where it is none of weights."""
    return FORMATS.get(PurePosixPath(name).suffix.lower(), UNKNOWN)


def is_weights(name: str) -> bool:
    """Whether a file name is that of weights, of a format that is read or not; a training's state is none, nor what
    may be anything by its suffix."""
    path = PurePosixPath(name)
    return path.suffix.lower() in FORMATS and not is_ambiguous(name) and not is_left_out(path.name)


def is_ambiguous(name: str) -> bool:
    """Whether only the content of a file can tell whether it holds weights."""
    suffix = PurePosixPath(name).suffix.lower()
    told = _CALLED_TAR.fullmatch(name) or is_left_out(PurePosixPath(name).name)
    return (suffix in AMBIGUOUS or bool(_STEP.fullmatch(suffix))) and not told


def is_left_out(name: str) -> bool:
    """Whether a file is hidden, or what a training or a tokenizer keeps beside weights."""
    return name.startswith(".") or bool(_TRAINING_STATE.fullmatch(name))
