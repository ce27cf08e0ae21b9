"""Arrays of joblib: their values lie between the opcodes of a pickle."""

from __future__ import annotations

import math
import re
from typing import Any

from peace_pipeline.weights.errors import UnsupportedFormat

_PLAIN = re.compile(r"([biufcSU])(\d{1,6})")
_OF_A_CHARACTER = 4
"""Bytes, in NumPy's texts."""


def size_of(file: str, shape: Any, kind: Any) -> int:
    """Bytes of an array of this shape and type (``f4``).

    Raises:
        ValueError: where these are none.
        UnsupportedFormat: where it is of objects or records, whose size nothing says.
    """
    if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError
    plain = _PLAIN.fullmatch(kind) if type(kind) is str else None
    if plain is None:
        raise UnsupportedFormat(f"{file}: arrays of joblib of objects or records, which are not read")
    return math.prod(shape) * int(plain[2]) * (_OF_A_CHARACTER if plain[1] == "U" else 1)
