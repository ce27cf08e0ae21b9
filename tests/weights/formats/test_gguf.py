"""GGUF: what its own writer wrote comes back, dequantised and with llama.cpp's permutation undone; whatever is wrong
with a file is one reason."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import quants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    FileChanged,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.gguf import GgufFile
from peace_pipeline.weights.local_blob import local_blob
from tests.weights.reading import read_all, refusal

ROBUST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUANTISED = [
    kind
    for kind in Kind
    if kind in gguf.constants.GGML_QUANT_SIZES and kind in quants._type_traits and kind != Kind.BF16
]
UNREAD = [kind for kind in (Kind.Q8_1, Kind.Q8_K, Kind.Q1_0)]


def write(path: Path, tensors: dict[str, Any], arch: str = "llama", **settings: Any) -> Path:
    """Values are arrays, or bytes with their quantisation; a setting ``a__b`` is ``a.b``."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_custom_alignment(settings.pop("alignment", 32))
    for key, value in settings.items():
        kind = gguf.GGUFValueType.get_type(value)
        sub_type = gguf.GGUFValueType.get_type(value[0]) if isinstance(value, list) else None
        writer.add_key_value(key.replace("__", "."), value, kind, sub_type)
    for name, value in tensors.items():
        values, kind = value if isinstance(value, tuple) else (value, None)
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def blocks(kind: Kind, *shape: int) -> np.ndarray:
    """Random blocks of a quantised tensor (rows, columns), whose float16 scales are finite."""
    count, width = gguf.constants.GGML_QUANT_SIZES[kind]
    data = np.random.default_rng(0).integers(0, 64, (*shape[:-1], shape[-1] // count * width), np.uint8)
    return data


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64])
def test_plain_types(kind: Any, tmp_path: Path) -> None:
    values = (10 * random(2, 3, 4)).astype(kind)
    found = read_all(write(tmp_path / "m.gguf", {"w": values, "f": random(2)}))
    assert found["w"].dtype == torch.from_numpy(values).dtype
    assert torch.equal(found["w"], torch.from_numpy(values))


def test_bfloat16(tmp_path: Path) -> None:
    values = torch.from_numpy(random(3, 5)).bfloat16()
    data = values.view(torch.uint8).numpy()
    found = read_all(write(tmp_path / "m.gguf", {"w": (data, Kind.BF16)}))
    assert found["w"].dtype == torch.bfloat16
    assert torch.equal(found["w"], values)


@pytest.mark.parametrize("kind", QUANTISED, ids=lambda kind: kind.name)
def test_quantised_types(kind: Kind, tmp_path: Path) -> None:
    data = blocks(kind, 7, 512)
    path = write(tmp_path / "m.gguf", {"w": (data, kind)})
    expected = torch.from_numpy(quants.dequantize(data, kind))
    with open_checkpoint([path]) as checkpoint:
        info = checkpoint.tensors["w"]
        assert (info.shape, info.dtype, info.stored) == ((7, 512), "float32", kind.name.lower())
        assert torch.equal(checkpoint.read("w"), expected)
        assert torch.equal(checkpoint._owner["w"].read("w", (2, 5)), expected[2:5])


def test_many_blocks(tmp_path: Path) -> None:
    values = random(5, 3, 96)
    path = write(tmp_path / "m.gguf", {"w": (quants.quantize(values, Kind.Q8_0), Kind.Q8_0)})
    expected = quants.dequantize(quants.quantize(values, Kind.Q8_0), Kind.Q8_0)
    with local_blob(path) as blob:
        found = GgufFile(blob, block=256).read("w")
    assert torch.equal(found, torch.from_numpy(expected))
    torch.testing.assert_close(found, torch.from_numpy(values), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", UNREAD, ids=lambda kind: kind.name)
def test_types_that_are_not_read(kind: Kind, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {"w": (blocks(kind, 2, 512), kind)})
    assert f"in {kind.name.lower()}, which is not read" in refusal(path, UnsupportedFormat)


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


HEADS = {"llama__attention__head_count": 4, "llama__attention__head_count_kv": 2}
Q, K = "blk.0.attn_q.weight", "blk.0.attn_k.weight"


def test_the_rows_of_queries_and_keys_are_as_pytorch_has_them(tmp_path: Path) -> None:
    query, key, value, bias = random(32, 6), random(16, 6) + 1, random(16, 6) + 2, random(32)
    tensors = {
        Q: permute(query, 4), K: permute(key, 2), "blk.0.attn_v.weight": value,
        "blk.0.attn_q.bias": permute(bias, 4), "blk.0.attn_q_norm.weight": random(8),
    }  # fmt: skip
    expected = dict(zip(tensors, (query, key, value, bias, random(8)), strict=True))
    path = write(tmp_path / "m.gguf", tensors, **HEADS)
    found = read_all(path)
    assert all(torch.equal(found[name], torch.from_numpy(values)) for name, values in expected.items())
    others = read_all(write(tmp_path / "n.gguf", tensors, "qwen2", **HEADS))
    assert all(torch.equal(others[name], torch.from_numpy(values)) for name, values in tensors.items())
    single = read_all(write(tmp_path / "o.gguf", {K: permute(query, 4)}, llama__attention__head_count=4))
    assert torch.equal(single[K], torch.from_numpy(query))


@given(rows=st.tuples(st.integers(0, 64), st.integers(0, 64)), name=st.sampled_from([Q, K, "w"]))
@ROBUST
@pytest.mark.parametrize("shape", [(64, 32), (64,), (64, 2, 64)])
@pytest.mark.parametrize("quantised", [False, True])
def test_rows(
    quantised: bool, shape: tuple[int, ...], rows: tuple[int, int], name: str, tmp_path: Path
) -> None:
    values = random(*shape)
    stored = (quants.quantize(values, Kind.Q8_0), Kind.Q8_0) if quantised else values
    path = write(tmp_path / "m.gguf", {name: stored}, **HEADS)
    start, stop = sorted(rows)
    with open_checkpoint([path]) as checkpoint:
        part = checkpoint._owner[name].read(name, (start, stop))
        assert torch.equal(part, checkpoint.read(name)[start:stop])
        assert part.shape == (stop - start, *shape[1:])


def test_a_shard_knows_the_settings_of_the_first(tmp_path: Path) -> None:
    query = random(32, 6)
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    write(second, {Q: permute(query, 4)}, "unknown")
    with pytest.raises(UnreadableCheckpoint, match="No such file"):
        read_all(second)
    write(first, {"w": random(2)}, **HEADS)
    with open_checkpoint([first, second]) as checkpoint:
        assert torch.equal(checkpoint.read(Q), torch.from_numpy(query))


def test_the_epsilon_of_norms(tmp_path: Path) -> None:
    names = ["blk.0.attn_norm.weight", "output_norm.weight", "blk.0.attn_norm.bias", "token_embd.weight"]
    tensors = {name: random(4) for name in names}
    path = write(tmp_path / "m.gguf", tensors, llama__attention__layer_norm_rms_epsilon=1e-5)
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
    assert eps == dict.fromkeys(names[:2], 1e-5)


def test_long_names_take_no_time(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {f"{number}{'norm_' * 200}": random(1) for number in range(500)})
    started = time.process_time()
    assert len(read_all(path)) == 500
    assert time.process_time() - started < 5


def test_vocabularies_and_alignment(tmp_path: Path) -> None:
    words = [f"{'x' * (number % 150)}{number}" for number in range(500)]
    values = random(3, 5)
    tokenizer = {"tokens": words, "scores": [1.0] * 500, "flags": [True, False], "template": "t" * 5000}
    settings = {f"tokenizer__{key}": value for key, value in tokenizer.items()}
    path = write(tmp_path / "m.gguf", {"a": values, "b": values}, alignment=256, **settings)
    with local_blob(path) as blob:
        file = GgufFile(blob, window=100)
        assert all(torch.equal(file.read(name), torch.from_numpy(values)) for name in ("a", "b"))


def text(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


def setting(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str = "w", shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file(tensors: list[bytes], settings: Iterable[bytes] = (), version: int = 3, **said: int) -> bytes:
    """A file of 64 bytes of data, with other numbers of tensors and settings where it lies."""
    parts = {"tensors": list(tensors), "settings": list(settings)}
    counts = [said.get(f"said_{name}", len(found)) for name, found in parts.items()]
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(parts["settings"] + parts["tensors"])
    return head + bytes(-len(head) % 32 + 64)


ALIGNMENT = "general.alignment"
U32, LIST, STRING = 4, 9, 8
LISTS = struct.pack("<IQ", LIST, 1) * 9 + struct.pack("<IQ", U32, 0)
REFUSED = {
    "empty": (b"", CorruptFile),
    "another format": (b"PK\x03\x04" + bytes(99), CorruptFile),
    "version 1": (file([tensor()], version=1), UnsupportedFormat),
    "version 4": (file([tensor()], version=4), UnsupportedFormat),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), UnsupportedFormat),
    "too many tensors": (file([tensor()], said_tensors=2**60), CorruptFile),
    "too many settings": (file([tensor()], said_settings=2**60), CorruptFile),
    "fewer tensors than it says": (file([tensor()], said_tensors=2), CorruptFile),
    "a type that was removed": (file([tensor(kind=4)]), UnsupportedFormat),
    "an unknown type": (file([tensor(kind=999)]), UnsupportedFormat),
    "17 dimensions": (file([tensor(shape=(1,) * 17)]), ExcessiveSize),
    "a size that it can't hold": (file([tensor(shape=(2**62, 2**62))]), CorruptFile),
    "an empty one that is huge": (file([tensor(shape=(0, 2**63, 2))]), CorruptFile),
    "past the end": (file([tensor(offset=64)]), CorruptFile),
    "far past the end": (file([tensor(offset=2**64 - 32)]), CorruptFile),
    "not aligned": (file([tensor(offset=8)]), CorruptFile),
    "overlapping": (file([tensor("a", (16,)), tensor("b", offset=32)]), CorruptFile),
    "in one place": (file([tensor("a"), tensor("b")]), CorruptFile),
    "half a block": (file([tensor(shape=(16,), kind=8)]), CorruptFile),
    "a scalar in blocks": (file([tensor(shape=(), kind=8)]), CorruptFile),
    "one name twice": (file([tensor(), tensor(offset=32)]), DuplicateTensor),
    "a name that is no text": (file([tensor().replace(b"w", b"\xff")]), CorruptFile),
    "a long name": (file([tensor("n" * 2000)]), ExcessiveSize),
    "one setting twice": (file([tensor()], 2 * [setting("a", U32, bytes(4))]), CorruptFile),
    "an unknown setting": (file([tensor()], [setting("a", 77, bytes(4))]), CorruptFile),
    "alignment 0": (file([tensor()], [setting(ALIGNMENT, U32, bytes(4))]), CorruptFile),
    "alignment 24": (file([tensor()], [setting(ALIGNMENT, U32, struct.pack("<I", 24))]), CorruptFile),
    "alignment in words": (file([tensor()], [setting(ALIGNMENT, STRING, text("32"))]), CorruptFile),
    "a long list": (file([tensor()], [setting("a", LIST, struct.pack("<IQ", U32, 2**62))]), CorruptFile),
    "a list of many texts": (file([tensor()], [setting("a", LIST, struct.pack("<IQ", STRING, 2**62))]), ExcessiveSize),
    "a list of a few texts": (file([tensor()], [setting("a", LIST, struct.pack("<IQ", STRING, 9))]), CorruptFile),
    "lists within lists": (file([tensor()], [setting("a", LIST, LISTS)]), ExcessiveSize),
    "a long text": (file([tensor()], [setting("a", STRING, struct.pack("<Q", 2**63))]), CorruptFile),
}  # fmt: skip


def test_the_files_that_are_not_refused(tmp_path: Path) -> None:
    for version in (2, 3):
        path = tmp_path / "m.gguf"
        path.write_bytes(
            file([tensor(), tensor("b", (4, 2), offset=32)], [setting("a", U32, bytes(4))], version=version)
        )
        assert {name: tuple(value.shape) for name, value in read_all(path).items()} == {
            "w": (4,),
            "b": (2, 4),
        }


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    content, kind = REFUSED[case]
    (tmp_path / "m.gguf").write_bytes(content)
    refusal(tmp_path / "m.gguf", kind)


@pytest.mark.parametrize("heads", [3, 0, -4])
def test_heads_that_make_no_sense(heads: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {Q: random(32, 6)}, llama__attention__head_count=heads)
    refusal(path, CorruptFile)


def test_heads_that_differ_by_layer(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {Q: random(32, 6)}, llama__attention__head_count=[4, 4])
    refusal(path, UnsupportedFormat)


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {"w": random(100)})
    with open_checkpoint([path]) as checkpoint:
        path.write_bytes(path.read_bytes()[:-99])
        with pytest.raises(FileChanged):
            checkpoint.read("w")


@ROBUST
@given(data=st.data())
def test_corrupt_bytes_are_never_another_exception(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    quantised = (quants.quantize(random(4, 64), Kind.Q8_0), Kind.Q8_0)
    write(path, {Q: random(32, 6), "w": quantised}, words=["a", "b"], **HEADS)
    content = bytearray(path.read_bytes())
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=8)):
        content[place] = value
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(UnreadableCheckpoint):
        read_all(path)


@ROBUST
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_files(cut: float, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {"a": random(8), "b": random(8)}, words=["a", "b"])
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    refusal(path, CorruptFile)
