"""Bytes of a file by position, wherever the file lies."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Blob(Protocol):
    """A file of ``size`` bytes called ``name``."""

    name: str
    size: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Exactly the bytes from ``start`` up to ``stop`` (uint8, writable, owned by the caller)."""
