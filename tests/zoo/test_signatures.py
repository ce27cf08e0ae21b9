"""What first bytes tell: the format, whatever the name, or what else it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.weights.errors import UnreadableCheckpoint, UnsupportedFormat
from peace_pipeline.zoo import signatures
from tests.weights.corpus import FORMATS, Format

STATE = {"a.weight": torch.arange(6.0).view(2, 3)}
TOLD = {name: form for name, form in FORMATS.items() if name not in ("onnx", "flax")}
"""Protobuf and msgpack have no first bytes of their own."""


@pytest.mark.parametrize("form", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("name", ["weights", "best.pth.tar", "m.pkl", "x.safetensors", "y.bin", "z.dat"])
def test_a_file_is_read_by_its_content(form: Format, name: str, tmp_path: Path) -> None:
    path = form.state(STATE, tmp_path / f"m{form.suffix}").rename(tmp_path / name)
    with open_checkpoint([path]) as checkpoint:
        assert torch.equal(checkpoint.read("a.weight"), STATE["a.weight"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page"),
        (b"Entry not found", "message of a server"),
        (b"ftrt" + bytes(100), "a TensorRT engine"),
        (b"\x1f\x8b" + bytes(100), "a gzip archive"),
        (b"\x06\0\0\0\x0c\0WhisperSpec\0" + bytes(100), "a CTranslate2 model"),
        (b"\x7fELF" + bytes(100), "a compiled library"),
        (b"\x1c\0\0\0ET12" + bytes(100), "an ExecuTorch program"),
        (b"\x1c\0\0\0ORTM" + bytes(100), "ONNX Runtime's own format"),
    ],
)
@pytest.mark.parametrize("name", ["m.bin", "model.safetensors", "m.engine", "m.pth"])
def test_what_is_no_checkpoint_is_named(content: bytes, said: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with (
        pytest.raises(UnsupportedFormat, match=f"{name}: .*{said}.*not read"),
        open_checkpoint([tmp_path / name]),
    ):
        pass


def test_adapters_are_told_from_networks(tmp_path: Path) -> None:
    for name, is_adapter in (
        ("x.lora_up.weight", True),
        ("x.lora_A.weight", True),
        ("x.flora_up", False),
        ("x.weight", False),
    ):
        save_file({name: torch.ones(2, 2)}, tmp_path / "m.safetensors")
        assert signatures.is_adapter(signatures.head_of(tmp_path / "m.safetensors")) == is_adapter


def test_what_is_no_regular_file_has_no_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    assert [signatures.head_of(path) for path in (tmp_path, tmp_path / "link", tmp_path / "none")] == [
        b""
    ] * 3


@pytest.mark.parametrize(
    "name", ["m.engine", "m.nemo", "m.mlmodel", "m.pb", "m.pdiparams", "m.param", "m.tflite"]
)
def test_what_is_not_read_is_named_by_its_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    what = signatures.foreign_by_name(name)
    with (
        pytest.raises(UnsupportedFormat, match=f"{name}: {what}: not read"),
        open_checkpoint([tmp_path / name]),
    ):
        pass


def test_weights_of_openvino_are_named(tmp_path: Path) -> None:
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (tmp_path / name).write_bytes(b"anything")
    with (
        pytest.raises(UnsupportedFormat, match="OpenVINO"),
        open_checkpoint([tmp_path / "openvino_model.bin"]),
    ):
        pass


def test_a_folder_names_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "m.engine").write_bytes(b"anything")
    with pytest.raises(UnreadableCheckpoint, match=r"m\.engine \(a TensorRT engine\)"):
        weight_files(tmp_path)
