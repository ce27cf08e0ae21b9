"""PyTorch's files: what torch.save and torch.jit.save wrote is read without torch.load, and nothing in it is run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    FileChanged,
    ForbiddenPath,
    NoTensors,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.pickles import MAX_OPCODES, loads
from peace_pipeline.weights.formats.pytorch import open_file
from peace_pipeline.weights.formats.state_dicts import Limits

STATE = {"a.weight": torch.arange(6.0).view(3, 2), "a.bias": torch.ones(3), "steps": torch.tensor(4)}
OTHER = {"b.weight": torch.full((2, 2), 7.0)}
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
ROBUST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, content: object, zipped: bool = True, **options: Any) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint([path]) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return [*found] == [*expected] and all(
        found[k].dtype == v.dtype and found[k].shape == v.shape and torch.equal(bits(found[k]), bits(v))
        for k, v in expected.items()
    )


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8)


def refusal(path: Path, kind: type[UnreadableCheckpoint]) -> str:
    with pytest.raises(kind) as error:
        read_all(path)
    assert "\n" not in str(error.value)
    return str(error.value)


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3, 2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
CHECKPOINTS: dict[str, Any] = {
    "plain": STATE,
    "ordered": OrderedDict(STATE),
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model_state_dict": {"optimizer": OPTIMIZER, "model_state_dict": STATE, "loss": torch.tensor(0.5)},
    "nested twice": {"model": {"state_dict": STATE}},
    "data parallel": {f"module.{name}": value for name, value in STATE.items()},
    "compiled": {f"_orig_mod.{name}": value for name, value in STATE.items()},
    "compiled, then data parallel": {f"module._orig_mod.{name}": value for name, value in STATE.items()},
    "parameters": {name: nn.Parameter(v) if v.dim() else v for name, v in STATE.items()},
    "beside other values": STATE | {"note": "text", "none": None},
    "beside an average": {"ema": OTHER, "model": STATE, "optimizer": OPTIMIZER},
    "the average alone": {"model": None, "ema": STATE},
    "under a name of its own": {"epoch": 3, "netG": STATE, "optimG": OPTIMIZER, "loss": torch.tensor(0.5)},
    "with a random state": {"net_a": STATE, "rng_state": torch.get_rng_state()},
    "a parameter with attributes": STATE | {"a.bias": nn.Parameter(torch.ones(3))},
}
CHECKPOINTS["a parameter with attributes"]["a.bias"].tag = 3


@FORMS
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_the_network_in_a_checkpoint(case: str, zipped: bool, tmp_path: Path) -> None:
    assert same(read_all(written(tmp_path / "m.pt", CHECKPOINTS[case], zipped)), STATE)


NAMED_OTHERWISE: dict[str, tuple[Any, dict[str, torch.Tensor]]] = {
    "a prefix of some alone": ({"module.a": torch.ones(2), "b": torch.ones(2)},) * 2,
    "Lightning": (
        {
            "state_dict": {f"model.{name}": value for name, value in STATE.items()},
            "optimizer_states": [OPTIMIZER],
        },
        {f"model.{name}": value for name, value in STATE.items()},
    ),
    "two networks": (
        {"generator": OTHER, "discriminator": STATE, "optimizer": OPTIMIZER},
        {
            "generator.b.weight": OTHER["b.weight"],
            **{f"discriminator.{name}": v for name, v in STATE.items()},
        },
    ),
    "tensors beside a network": (
        {"class_weights": torch.ones(4), "net": None, "encoder": STATE, "optimizer": OPTIMIZER},
        {"class_weights": torch.ones(4), **{f"encoder.{name}": v for name, v in STATE.items()}},
    ),
    "numbers": ({0: torch.ones(2), "1": torch.zeros(2)}, {"0": torch.ones(2), "1": torch.zeros(2)}),
    "compiled within": ({"model._orig_mod.a": torch.ones(2)}, {"model.a": torch.ones(2)}),
}


@pytest.mark.parametrize("case", NAMED_OTHERWISE)
def test_names_in_a_checkpoint(case: str, tmp_path: Path) -> None:
    content, expected = NAMED_OTHERWISE[case]
    assert same(read_all(written(tmp_path / "m.pt", content)), expected)


def recursive() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["state_dict"] = content["again"] = content
    return content


def doubly_named() -> dict[Any, torch.Tensor]:
    return {0: torch.ones(2), "0": torch.zeros(2)}


NO_NETWORK: dict[str, tuple[Any, type[UnreadableCheckpoint], str]] = {
    "no tensors": ({"epoch": 3, "args": "text"}, NoTensors, "a dictionary of 'epoch', 'args'"),
    "a list": ([torch.ones(2)], NoTensors, "a list"),
    "a tensor": (torch.ones(2), NoTensors, "_rebuild_tensor_v2"),
    "integers": ({"w": torch.ones(2, dtype=torch.int64)}, NoTensors, "no floating-point tensors"),
    "an optimiser": (OPTIMIZER, NoTensors, "'state', 'param_groups'"),
    "empty": ({}, NoTensors, "a dictionary"),
    "recursive": (recursive(), NoTensors, "'state_dict'"),
    "sparse": ({"w": torch.eye(3).to_sparse()}, UnsupportedFormat, "'w' is sparse"),
    "expanded": ({"w": torch.ones(1).expand(2**20, 2**20)}, UnsupportedFormat, "'w' of shape"),
    "on no device": ({"w": torch.ones(2, device="meta")}, UnsupportedFormat, "'w' is on the device meta"),
    "a name that is no text": ({"\ud800": torch.ones(2)}, UnreadableCheckpoint, "is no text"),
    "one name twice": (doubly_named(), DuplicateTensor, "'0' is there twice"),
    "one name when joined": (
        {"a": {"b.c": torch.ones(2)}, "a.b": {"c": torch.zeros(2)}},
        DuplicateTensor,
        "two tensors have one name within 'a.b'",
    ),
    "one name when uncompiled": (
        {"_orig_mod.a": torch.ones(2), "a": torch.zeros(2)},
        DuplicateTensor,
        "two tensors have one name",
    ),
    "a long name": ({"x" * 2000: torch.ones(2)}, ExcessiveSize, "a name of 2,000 characters"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@FORMS
@pytest.mark.parametrize("case", NO_NETWORK)
def test_contents_that_are_no_network(case: str, zipped: bool, tmp_path: Path) -> None:
    content, kind, reason = NO_NETWORK[case]
    assert reason in refusal(written(tmp_path / "m.pt", content, zipped), kind)


# Tensors


def some_views(base: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from (
        base,
        base.t(),
        base[1:],
        base[:, 1],
        base[::2, 1:],
        base.flatten()[3:5],
        base[:0],
        base[0, 0],
    )


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
NEW_DTYPES = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]
"""Those that torch.load itself can't read back from a legacy file."""


@FORMS
@ROBUST
@given(data=st.data())
def test_as_torch_load_reads_it(zipped: bool, data: st.DataObject, tmp_path: Path) -> None:
    dtypes = st.sampled_from(DTYPES + NEW_DTYPES if zipped else DTYPES)
    bases = [
        (torch.arange(rows * columns) % 7).view(rows, columns).to(dtype)
        for rows, columns, dtype in data.draw(
            st.lists(
                st.tuples(st.integers(2, 4), st.integers(3, 4), dtypes),
                min_size=1,
                max_size=3,
            )
        )
    ]
    views = [view for base in [torch.ones(2, 3), *bases] for view in some_views(base)]
    state = data.draw(
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.sampled_from(views))
    )
    state["last"] = torch.full((2,), 9.0)
    protocol = data.draw(st.integers(2, 5))
    path = written(tmp_path / "m.pt", {"state_dict": state}, zipped, pickle_protocol=protocol)
    loaded = torch.load(path, weights_only=protocol == 2)["state_dict"]
    first: dict[Any, str] = {}
    for name, tensor in loaded.items():
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        first.setdefault((*place, tensor.dtype), name)
    expected = {name: loaded[name] for name in first.values()}
    assert same(read_all(path), expected)
    with open_checkpoint([path]) as checkpoint:
        for name, tensor in expected.items():
            assert checkpoint.tensors[name].shape == tuple(tensor.shape)
            if tensor.dim() and len(tensor) > 1:
                rows = checkpoint.read(name, None, (1, len(tensor)))
                assert same({name: rows}, {name: tensor[1:]})


def test_a_large_tensor_that_is_not_stored_in_order(tmp_path: Path) -> None:
    base = torch.arange(6_000_000.0).view(2000, 3000)
    state = {
        "t": base.t(),
        "column": base[:, 7],
        "block": base.view(20, 100, 3000)[:, 3:90, 5:7],
        "even": base[::2],
    }
    path = written(tmp_path / "m.pt", state)
    assert same(read_all(path), state)
    with open_checkpoint([path]) as checkpoint:
        assert torch.equal(checkpoint.read("t", rows=(10, 20)), base.t()[10:20])


def test_what_overlaps_itself_is_not_read_again_and_again(tmp_path: Path) -> None:
    base = torch.arange(8_000_000.0)
    path = written(tmp_path / "m.pt", {"w": base.as_strided((2000, 2000), (2000, 1001))})
    assert "repeats its values by strides (2000, 1001)" in refusal(path, UnsupportedFormat)


def test_views_of_one_storage_claim_no_large_network(tmp_path: Path) -> None:
    base = torch.ones(1_001_000)
    path = written(tmp_path / "m.pt", {f"{start}": base[start : start + 1_000_000] for start in range(1000)})
    assert "tensors of 4,000,000,000 bytes in a file of" in refusal(path, ExcessiveSize)


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"w": torch.arange(1_000_000.0).view(1000, 1000)}
    with open_checkpoint([written(tmp_path / "m.pt", state)]) as checkpoint:
        count = 0
        reading = os.preadv

        def counted(*arguments: Any) -> int:
            nonlocal count
            count += (done := reading(*arguments))
            return done

        monkeypatch.setattr(os, "preadv", counted)
        assert torch.equal(checkpoint.read("w", rows=(998, 1000)), state["w"][998:])
    assert 8000 <= count < 9000


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@FORMS
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32])
def test_quantised_tensors(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    scales, points = torch.tensor([0.1, 0.2, 0.03, 0.4]).double(), torch.tensor([0, 5, 3, 1])
    state = {
        "whole": torch.quantize_per_tensor(weight, 0.1, 3, dtype),
        "rows": torch.quantize_per_channel(weight, scales, points, 0, dtype),
        "columns": torch.quantize_per_channel(weight, scales[:3], points[:3], 1, dtype),
    }
    path = written(tmp_path / "m.pt", state, zipped)
    expected = {name: tensor.dequantize() for name, tensor in state.items()}
    assert same(read_all(path), expected)
    with open_checkpoint([path]) as checkpoint:
        assert {info.stored for info in checkpoint.tensors.values()} == {str(dtype).removeprefix("torch.")}
        for name, tensor in expected.items():
            assert torch.equal(checkpoint.read(name, rows=(1, 3)), tensor[1:3])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_are_tensors(protocol: int, tmp_path: Path) -> None:
    arrays = {
        "plain": np.arange(6.0, dtype=np.float32).reshape(2, 3) - 3,
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "other order": np.arange(3.0).astype(">f8"),
        "half": np.ones((2, 0), np.float16),
        "flags": np.array([True, False]),
    }
    content = {"weights": arrays | {"classes": np.array(["cat", "dog"]), "any": np.array([{}], object)}}
    path = written(tmp_path / "m.pt", content, pickle_protocol=protocol)
    assert same(
        read_all(path), {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="))) for k, v in arrays.items()}
    )


def test_shared_weights_are_listed_once(tmp_path: Path) -> None:
    weight = torch.randn(3, 2)
    state = {"embedding": weight, "head": weight, "transposed": weight.t()}
    assert [*read_all(written(tmp_path / "m.pt", state))] == ["embedding", "transposed"]


# Modules


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2, eps=0.25)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.LayerNorm(3, eps=0.125)])
        self.scales = nn.ParameterList([torch.full((2,), 0.5)])
        self.tied = self.layers[0]
        self.constant = torch.full((3,), 2.0)
        self.register_buffer("position", torch.arange(3.0))
        self.register_buffer("passing", torch.ones(3), persistent=False)
        self.register_parameter("none", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)) + self.constant + self.passing + self.position
        for layer in self.layers:
            x = layer(x)
        return self.tied(x)


def state_of(network: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("tied.")}


@FORMS
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_module(zipped: bool, wrapped: bool, tmp_path: Path) -> None:
    network = Network().eval()
    path = written(tmp_path / "m.pt", {"epoch": 3, "model": network} if wrapped else network, zipped)
    assert same(read_all(path), state_of(network))
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
    assert eps == {"norm.running_var": 0.25, "layers.1.weight": 0.125}


def test_a_module_within_an_object_of_another_kind(tmp_path: Path) -> None:
    learner = Learner(Network().eval())
    assert same(read_all(written(tmp_path / "m.pt", learner)), state_of(learner.model))


class Learner:
    def __init__(self, model: nn.Module) -> None:
        self.model, self.history = model, [torch.ones(3)]


COMPILERS: dict[str, Callable[[nn.Module], Any]] = {
    "scripted": torch.jit.script,
    "traced": lambda network: torch.jit.trace(network, torch.ones(1, 1, 5, 5)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", COMPILERS)
@pytest.mark.parametrize("suffix", ["jit", "pt"])
def test_torchscript(case: str, suffix: str, tmp_path: Path) -> None:
    compiled = COMPILERS[case](Network().eval())
    path = tmp_path / f"m.{suffix}"
    torch.jit.save(compiled, path)
    assert same(read_all(path), state_of(torch.jit.load(path)))
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
        assert not checkpoint.tensors.keys() & {"constant", "training"}
    assert eps == {"norm.running_var": 0.25, "layers.1.weight": 0.125}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_frozen_torchscript_has_no_named_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.script(Network().eval())), tmp_path / "m.jit")
    assert "m.jit: no network in it" in refusal(tmp_path / "m.jit", NoTensors)


# Files that would harm


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


def in_zip(path: Path, pickled: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(f"m/data/{name.removeprefix('_')}", content)
    return path


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


def tensor_pickle(
    key: str = "0", length: int = 4, shape: bytes = b"K\x04\x85", strides: bytes = b"K\x01\x85"
) -> bytes:
    name = key.encode()
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
        b"FloatStorage\nX" + struct.pack("<I", len(name)) + name + b"X\x03\x00\x00\x00cpu\x8a\x08"
        b"" + struct.pack("<q", length) + b"tQK\x00" + shape + strides + b"\x89}tRs."
    )


WHOLE = struct.pack("<4f", 1, 2, 3, 4)
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


def test_archives_that_lie(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "m.pt", tensor_pickle(), _0=WHOLE)
    content = path.read_bytes()

    def changed(place: int, new: bytes, kind: type[UnreadableCheckpoint]) -> str:
        path.write_bytes(content[:place] + new + content[place + len(new) :])
        return refusal(path, kind)

    end, second = content.rindex(b"PK\x05\x06"), content.rindex(b"PK\x01\x02")
    assert "a file twice, or another number" in changed(end + 10, b"\x01\x00", CorruptFile)
    assert "whose directory is not where it says" in changed(end + 16, b"\x00\x00\x00\x00", CorruptFile)
    assert "begin at one place" in changed(second + 42, b"\x00\x00\x00\x00", CorruptFile)
    assert "overlaps what follows" in changed(second + 20, b"\xff\x00\x00\x00" * 2, CorruptFile)
    assert "has two sizes" in changed(second + 20, b"\x01\x00\x00\x00", CorruptFile)
    assert "is compressed or encrypted" in changed(second + 8, b"\x01", UnsupportedFormat)
    assert "leads out of the archive" in changed(second + 46, b"../..", ForbiddenPath)
    assert "not where the directory says" in changed(content.rindex(b"PK\x03\x04"), b"xx", CorruptFile)
    path.write_bytes(content + b"more")
    assert "something after its end" in refusal(path, CorruptFile)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", tensor_pickle())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("m/data.pkl", tensor_pickle())
    assert "names a file twice" in refusal(path, CorruptFile)
    path.write_bytes(
        b"PK\x03\x04"
        + b"PK\x06\x06"
        + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, *[10**6] * 2, 0, 4)
        + struct.pack("<4sLQL", b"PK\x06\x07", 0, 4, 1)
        + b"PK\x05\x06"
        + b"\xff" * 16
        + b"\x00\x00"
    )
    assert "an archive of 1,000,000 files" in refusal(path, ExcessiveSize)


def test_other_archives_and_pickles(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/model.json", "{}")
    assert "a zip archive without a data.pkl" in refusal(path, UnsupportedFormat)
    path.write_bytes(pickle.dumps({"w": np.ones(2)}))
    assert "a pickle, but not of torch.save: a dictionary of 'w'" in refusal(path, UnsupportedFormat)
    with tarfile.open(path, "w:") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert "a tar archive" in refusal(path, UnsupportedFormat)
    path.write_bytes(b"")
    assert "not a PyTorch file" in refusal(path, CorruptFile)


def test_legacy_files_that_lie(tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"w": torch.ones(4), "v": torch.zeros(3)}, zipped=False)
    content = path.read_bytes()
    length = content.rindex(struct.pack("<q", 4))
    path.write_bytes(content[:length] + struct.pack("<q", 2**40) + content[length + 8 :])
    assert "goes beyond its end" in refusal(path, CorruptFile)
    path.write_bytes(content[:length] + struct.pack("<q", 3) + content[length + 8 :])
    refusal(path, CorruptFile)
    path.write_bytes(content[:-1])
    assert "goes beyond its end" in refusal(path, CorruptFile)


@FORMS
def test_a_file_that_shrinks_while_it_is_read(zipped: bool, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"w": torch.ones(10_000)}, zipped)
    with open_checkpoint([path]) as checkpoint:
        os.truncate(path, 1000)
        with pytest.raises(FileChanged, match=r"m\.pt"):
            checkpoint.read("w")


def fuzzed(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=8)):
        changed[place] = value
    start, length = data.draw(st.tuples(st.integers(0, len(content)), st.integers(0, 40)))
    del changed[start : start + length]
    return bytes(changed)


@FORMS
@ROBUST
@given(data=st.data())
def test_corrupt_bytes_are_never_another_exception(zipped: bool, data: st.DataObject, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"state_dict": STATE}, zipped)
    path.write_bytes(fuzzed(path.read_bytes(), data))
    with suppress(UnreadableCheckpoint):
        read_all(path)


@FORMS
@ROBUST
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_files(zipped: bool, cut: float, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", STATE, zipped)
    os.truncate(path, int(cut * path.stat().st_size))
    refusal(path, CorruptFile)


def test_many_tensors(tmp_path: Path) -> None:
    names = [f"layers.{index}.weight" for index in range(10_000)]
    base = torch.arange(10_000.0)
    path = written(tmp_path / "m.pt", {name: base[index : index + 1] for index, name in enumerate(names)})
    with open_checkpoint([path]) as checkpoint:
        assert [*checkpoint.tensors] == names
        assert all(
            float(checkpoint.read(name)) == index for index, name in islice(enumerate(names), 0, None, 2500)
        )
