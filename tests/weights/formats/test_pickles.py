"""Pickles are read without running them: what they name is not imported, what lies is refused."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from peace_pipeline.weights.errors import (
    CorruptFile,
    ExcessiveSize,
    NoTensors,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.pickles import MAX_OPCODES, loads
from peace_pipeline.weights.formats.pytorch import open_file
from peace_pipeline.weights.formats.state_dicts import Limits
from tests.weights.formats.pickled import (
    FORMS,
    STATE,
    WHOLE,
    Learner,
    in_zip,
    read_all,
    refusal,
    same,
    tensor_pickle,
    written,
)


class Malicious:
    """Unpickling it would write the file that it names."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


@FORMS
@pytest.mark.parametrize("beside", [True, False])
def test_a_pickle_that_would_run_code_does_not(zipped: bool, beside: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "m.pt", tmp_path / "marker"
    content: Any = {"evil": Malicious(marker)} | ({"state_dict": STATE} if beside else {})
    written(path, content, zipped)
    if beside:
        assert same(read_all(path), STATE)
    else:
        assert "no network in it, but a dictionary of 'evil'" in refusal(path, NoTensors)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "it would have"


_imports: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and _imports is not None:
        _imports.append(arguments[0])


sys.addaudithook(_watch)


def test_nothing_that_a_pickle_names_is_imported(tmp_path: Path) -> None:
    global _imports
    content = b"\x80\x02ctabnanny\nNannyNag\n(K\x01K\x02K\x03tR."
    path = in_zip(tmp_path / "m.pt", content)
    read_all(written(tmp_path / "warm.pt", STATE))
    _imports = []
    try:
        assert "an object of tabnanny.NannyNag" in refusal(path, NoTensors)
        assert _imports == []
        pickle.loads(content)
        assert "tabnanny" in _imports, "it would have"
    finally:
        _imports = None


def rewritten(
    path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))
    return path


def unchanged(_: str, content: bytes) -> bytes:
    return content


def test_the_byte_order_of_another_machine(tmp_path: Path) -> None:
    state = {"w": torch.randn(2, 3), "d": torch.randn(2).double(), "c": torch.randn(2, dtype=torch.complex64)}
    widths = {"m/data/0": 4, "m/data/1": 8, "m/data/2": 4}

    def swapped(name: str, content: bytes) -> bytes:
        if name in widths:
            return np.frombuffer(content, f"u{widths[name]}").byteswap().tobytes()
        return b"big" if name == "m/byteorder" else content

    path = written(tmp_path / "m.pt", state)
    assert same(read_all(rewritten(path, swapped)), state)
    odd = rewritten(path, lambda name, content: b"odd" if name == "m/byteorder" else content)
    assert "byte order 'odd'" in refusal(odd, CorruptFile)


def test_archives_that_were_compressed(tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"w": torch.ones(2000)})
    rewritten(path, unchanged, zipfile.ZIP_DEFLATED)
    assert "'m/data/0' is compressed" in refusal(path, UnsupportedFormat)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", bytes(100 << 20), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "'m/data.pkl' has 104,857,600 bytes" in refusal(path, ExcessiveSize)


LIES: dict[str, tuple[bytes, type[UnreadableCheckpoint], str]] = {
    "a storage too long": (tensor_pickle(length=5), CorruptFile, "fewer than 5 values"),
    "a storage of negative length": (tensor_pickle(length=-1), CorruptFile, "is described by nonsense"),
    "a storage that isn't there": (tensor_pickle("7"), CorruptFile, "has no storage"),
    "a storage elsewhere": (tensor_pickle("../data.pkl"), CorruptFile, "has no storage"),
    "a shape too large": (tensor_pickle(shape=b"K\x05\x85"), CorruptFile, "goes beyond its storage"),
    "a shape beyond any": (
        tensor_pickle(shape=b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85"),
        CorruptFile,
        "goes beyond",
    ),
    "a negative shape": (
        tensor_pickle(shape=b"J\xff\xff\xff\xff\x85"),
        CorruptFile,
        "is described by nonsense",
    ),
    "a shape of text": (tensor_pickle(shape=b"U\x01x"), CorruptFile, "is described by nonsense"),
    "strides too wide": (tensor_pickle(strides=b"K\x02\x85"), CorruptFile, "goes beyond its storage"),
    "strides of another number": (tensor_pickle(strides=b")"), CorruptFile, "is described by nonsense"),
    "many dimensions": (tensor_pickle(shape=b"(" + b"K\x01" * 70 + b"t"), ExcessiveSize, "has 70 dimensions"),
    "a pickle without end": (tensor_pickle()[:-1], CorruptFile, "is cut off"),
    "a text too long": (b"\x80\x02X\xff\xff\xff\xff.", CorruptFile, "is cut off"),
    "bytes beyond memory": (b"\x80\x04\x8e" + b"\xff" * 8 + b".", CorruptFile, "is cut off"),
    "a memo never filled": (b"\x80\x02h\x05.", CorruptFile, "no sound pickle"),
    "an empty stack": (b"\x80\x020.", CorruptFile, "no sound pickle"),
    "an unknown opcode": (b"\x80\x02\xff.", CorruptFile, "opcode 0xff"),
    "a later protocol": (b"\x80\x09N.", UnsupportedFormat, "protocol 9"),
    "too many opcodes": (b"\x80\x02" + b"N0" * MAX_OPCODES + b"N.", ExcessiveSize, "2,500,000 opcodes"),
    "a long integer": (
        b"\x80\x02\x8b\x00\x00\x01\x00" + bytes(1 << 16) + b".",
        ExcessiveSize,
        "65,536 bytes",
    ),
    "many digits": (b"I" + b"9" * 100_000 + b"\n.", ExcessiveSize, "100,000 digits"),
    "one text for more bytes than there are": (
        b"\x80\x02X\x00\x01\x00\x00"
        + b"x" * 256
        + b"q\x00c_codecs\nencode\nq\x01"
        + b"h\x01h\x00h\x00\x86R" * 99
        + b".",
        ExcessiveSize,
        "more bytes than it has",
    ),
    "a key that is no pair": (b"\x80\x02}(Nu.", CorruptFile, "no sound pickle"),
}


@pytest.mark.parametrize("case", LIES)
def test_pickles_that_lie(case: str, tmp_path: Path) -> None:
    pickled, kind, reason = LIES[case]
    assert reason in refusal(in_zip(tmp_path / "m.pt", pickled, _0=WHOLE), kind)


def test_the_pickle_of_the_lies_is_sound_otherwise(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "m.pt", tensor_pickle(), _0=WHOLE)
    assert same(read_all(path), {"w": torch.tensor([1.0, 2.0, 3.0, 4.0])})


def test_deep_nesting_is_read(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."
    assert "a list" in refusal(in_zip(tmp_path / "m.pt", deep), NoTensors)
    chain: Any = STATE
    for _ in range(200):
        chain = {"model": chain}
    assert "'model'" in refusal(written(tmp_path / "m.pt", chain), NoTensors)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)


@given(content=ANY, protocol=st.integers(0, 5))
@example(content="é\n\\ü\U0001f600", protocol=0)
def test_plain_values_of_every_protocol(content: Any, protocol: int) -> None:
    data = b"before" + pickle.dumps(content, protocol) + b"after"
    found = loads("f", data, len(b"before"))
    assert found.value == content
    assert data[found.stop :] == b"after"


def test_pickles_that_hold_the_same_again_and_again(tmp_path: Path) -> None:
    def refused(path: Path, limits: Limits, reason: str) -> None:
        with pytest.raises(ExcessiveSize, match=reason), open_file(path, limits):
            pass

    path = written(tmp_path / "m.pt", {str(index): STATE["a.bias"] for index in range(101)})
    refused(path, Limits(objects=100), "more than 100 tensors and modules")
    twins = {str(index): Learner(nn.Identity()) for index in range(20)}
    shared = {str(index): None for index in range(100)}
    for twin in twins.values():
        twin.__dict__ = shared
    refused(written(path, twins), Limits(items=1000), "again and again")


def test_a_dictionary_of_keys_without_a_value() -> None:
    assert loads("m", b"(I1\nI2\nd.").value == [1, 2]
    with pytest.raises(CorruptFile, match="no sound pickle"):
        loads("m", b"(I1\nI2\nI3\nd.")
