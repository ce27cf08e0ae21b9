"""Names in an ONNX graph: which an exporter made up, and which module the others speak of."""

from __future__ import annotations

import re

_INLINED = re.compile(r"(F\d+::)?\w*Inline_\d+__")
"""What spox puts before the names of a model that it builds in."""
_SUFFIX = re.compile(r"((_Transposed)?_quantized|_Transposed|:\d+)$")
"""What ONNX Runtime puts behind what it quantises, and TensorFlow behind all."""
_MADE_UP = re.compile(r"|\d+|onnx::.*|val_[\d_]+|(.*/)?_?Constant(_\d+)?_output_\d+|const_fold_opt__\d+")
_OF_PARAMETERS = ("weight", "bias", "running_")
_OF_KERAS = re.compile(r"(kernel|bias|gamma|beta|moving_\w+|embeddings|resource|[A-Z]\w*)(:\d+)?")
"""Variables and operators in the paths of Keras' exporters: what comes before is the layer."""


def clean(name: str) -> str:
    """A name without what tools put before and behind it."""
    inlined = _INLINED.match(name)
    return _SUFFIX.sub("", name[inlined.end() :] if inlined else name)


def is_made_up(name: str) -> bool:
    """Whether a clean name says nothing."""
    return bool(_MADE_UP.fullmatch(name))


def is_parameter(name: str) -> bool:
    """Whether a clean name is one that PyTorch gives to parameters: ``fc.weight``, ``rnn.bias_hh``."""
    module, dot, own = name.rpartition(".")
    if not dot:
        return own.startswith(_OF_PARAMETERS)
    return "/" not in name and bool(module) and any(part in own for part in _OF_PARAMETERS)


def dotted(path: str) -> str:
    """``/layer1/layer1.0/conv`` → ``layer1.0.conv``: PyTorch's exporter repeats the name of a list in its parts."""
    parts: list[str] = []
    for part in filter(None, path.split("/")):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def module_of(path: str) -> str:
    """The module in which a node or constant of a clean path is: ``/a/fc/MatMul`` and ``a/fc/kernel`` → ``a.fc``."""
    parts = path.split("/")
    if path.startswith("/"):
        parts.pop()
    while len(parts) > 1 and not path.startswith("/") and _OF_KERAS.fullmatch(parts[-1]):
        parts.pop()
    return dotted("/".join(parts))
