"""State dictionaries of Paddle: pickles of NumPy's arrays, whose linear layers are (in, out).

Paddle notes beside them what it calls each parameter (``linear_0.w_0``); without that, names tell embeddings from
linear layers. bfloat16 is stored as the integers of its bits.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import torch

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.formats.pickles import Items
from peace_pipeline.weights.formats.state_dicts import Found, Named
from peace_pipeline.weights.formats.storages import Array

_SUFFIX = ".pdparams"
_PARAMETERS, _IN_PIECES = "StructuredToParameterName@@", "UnpackBigParamInfor@@"
"""Keys of what Paddle notes."""
_EMBEDDING = re.compile(r"(.*[._])?(embed\w*|\w*embeddings?|emb|wte|wpe|shared)\.weight", re.IGNORECASE)
_OWN_NAME = re.compile(r"linear|embedding")
"""What Paddle calls parameters of its own accord; users may call them anything."""
_RENAMED = (
    (re.compile(r"(^|\.)_mean$"), r"\1running_mean"),
    (re.compile(r"(^|\.)_variance$"), r"\1running_var"),
)


def as_pytorch(found: Named, content: Any, file: str) -> Named:
    """The tensors of a file in PyTorch's names and layout where Paddle wrote it, else as they are.

    Raises:
        UnsupportedFormat: where it has arrays in pieces.
    """
    noted = _texts(content)
    if _PARAMETERS not in noted and PurePath(file).suffix.lower() != _SUFFIX:
        return found
    if _IN_PIECES in noted:
        raise UnsupportedFormat(f"{file}: arrays of Paddle in pieces, which are not read")
    told = {name: side for name in found if (side := _is_out_in(name, found)) is not None}
    if set(told.values()) == {True}:  # written with PyTorch's layout
        return found
    names = _texts(noted.get(_PARAMETERS))
    return {
        _renamed(name): _laid_out(name, item, str(names.get(name, "")), told.get(name))
        for name, item in found.items()
    }


def _is_out_in(name: str, found: Named) -> bool | None:
    """Whether a matrix's bias shows it to be (out, in), or else (in, out); ``None`` where there is none that does."""
    tensor, bias = found[name].tensor, found.get(f"{name.removesuffix('.weight')}.bias")
    if not isinstance(tensor, Array) or not bias or not isinstance(bias.tensor, Array):
        return None
    shape, own = tensor.shape, bias.tensor.shape
    if len(shape) != 2 or own not in (shape[:1], shape[1:]) or shape[0] == shape[1]:
        return None
    return own == shape[:1]


def _texts(items: Any) -> dict[str, Any]:
    """What a dictionary holds under texts."""
    pairs = zip(items[::2], items[1::2], strict=True) if isinstance(items, Items) else ()
    return {key: value for key, value in pairs if type(key) is str}


def _renamed(name: str) -> str:
    for pattern, own in _RENAMED:
        name = pattern.sub(own, name)
    return name


def _laid_out(name: str, item: Found, parameter: str, is_out_in: bool | None) -> Found:
    tensor = item.tensor
    if not isinstance(tensor, Array):
        return item
    if tensor.dtype is torch.uint16:
        tensor = replace(tensor, dtype=torch.bfloat16)
    if is_out_in is not None:
        is_linear = not is_out_in
    elif _OWN_NAME.search(parameter):  # such as fused_linear_0.w_0, vocab_parallel_embedding_0.w_0
        is_linear = "linear" in parameter
    else:
        is_linear = not _EMBEDDING.fullmatch(name)
    return Found(tensor.turned if is_linear and name.endswith(".weight") else tensor, item.eps)
