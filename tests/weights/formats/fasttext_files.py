"""Models of fastText, written as its library does."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np


def fasttext(
    embeddings: np.ndarray, output: np.ndarray, words: Sequence[str], *, version: int = 12, pruned: int = -1
) -> bytes:
    """The bytes of a supervised model."""
    settings = [embeddings.shape[1], 5, 5, 1, 5, 2, 3, 3, len(embeddings) - len(words), 0, 0, 100]
    labels = sum(word.startswith("__label__") for word in words)
    head = struct.pack("<2i12id3i2q", 793712314, version, *settings, 1e-4, len(words), len(words) - labels, labels,
                       1000, pruned)  # fmt: skip
    entries = b"".join(
        word.encode() + b"\0" + struct.pack("<qb", 256, word.startswith("__label__")) for word in words
    )
    buckets = b"".join(struct.pack("<2i", number, number) for number in range(max(pruned, 0)))
    matrices = b"".join(
        struct.pack("<?2q", False, *matrix.shape) + matrix.astype("<f4").tobytes()
        for matrix in (embeddings, output)
    )
    return head + entries + buckets + matrices
