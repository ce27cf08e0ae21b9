"""Models of fastText: two matrices behind a vocabulary."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnreadableCheckpoint, UnsupportedFormat
from tests.weights.formats.fasttext_files import fasttext
from tests.weights.formats.pickled import read_all, refusal

EMBEDDINGS, OUTPUT = (
    np.random.default_rng(0).normal(size=(40, 8)),
    np.random.default_rng(1).normal(size=(2, 8)),
)
WORDS = ["a", "the", "mot composé", "__label__x", "__label__y"]
HEAD = 92


@pytest.mark.parametrize("version", [11, 12])
@pytest.mark.parametrize("pruned", [-1, 0, 3])
@pytest.mark.parametrize("count", [1, 100_000])
def test_both_matrices(version: int, pruned: int, count: int, tmp_path: Path) -> None:
    words = WORDS if count == 1 else [f"word{number}" for number in range(count)]
    path = tmp_path / "model.bin"
    path.write_bytes(fasttext(EMBEDDINGS, OUTPUT, words, version=version, pruned=pruned))
    found = read_all(path)
    assert torch.equal(found["embedding.weight"], torch.from_numpy(EMBEDDINGS).float())
    assert torch.equal(found["output.weight"], torch.from_numpy(OUTPUT).float())
    with open_checkpoint([path]) as checkpoint:
        kinds = {wired.layer.name: wired.layer.kind for wired in OpenNetwork.of(checkpoint, {}).wiring.layers}
        assert kinds == {"embedding": "embedding", "output": "linear"}


def test_what_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.bin", fasttext(EMBEDDINGS, OUTPUT, WORDS)
    first = whole.index(struct.pack("<?2q", False, 40, 8))
    for content, kind, reason in (
        (whole[:first] + b"\1" + whole[first + 1 :], UnsupportedFormat, "a quantised fastText model"),
        (fasttext(EMBEDDINGS, OUTPUT, WORDS, version=10), UnsupportedFormat, "of version 10"),
        (whole[:HEAD] + b"x" * 99, CorruptFile, "cut off"),
        (whole[:-4], CorruptFile, "beyond the end"),
        (whole + bytes(4), CorruptFile, "4 bytes after"),
        (whole[:64] + struct.pack("<i", 2**30) + whole[68:], ExcessiveSize, "1,073,741,824 words"),
        (whole[:8] + struct.pack("<i", 9) + whole[12:], CorruptFile, "has 8 columns, not 9"),
        (whole[: first + 1] + struct.pack("<q", -40) + whole[first + 9 :], CorruptFile, "of shape"),
    ):
        path.write_bytes(content)
        assert reason in refusal(path, kind)


def test_cut_off_anywhere(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.bin", fasttext(EMBEDDINGS, OUTPUT, WORDS)
    for length in range(4, len(whole), 7):
        path.write_bytes(whole[:length])
        refusal(path, UnreadableCheckpoint)
