"""What a file is by its first bytes, whatever it is called."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path, PurePosixPath

HEAD = 4096
"""Bytes of a file that tell what it is."""
HEADER = 1 << 16
"""Bytes that name enough tensors of a safetensors file to tell an adapter."""

_FIRST_OF_ZIP = struct.Struct("<4s22xHH")
_OF_TORCH = re.compile(
    r"[^/]+/(data\.pkl|constants\.pkl|version|byteorder|bytecode\.pkl|attributes\.pkl"
    r"|\.format_version|\.storage_alignment|code/.*|data/.*)"
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_MAGIC = {
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"GGUF": "gguf",
    b"\x93NUMPY": "npz",
    b"\xba\x16\x4f\x2f": "fasttext",
}
_FOREIGN = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer, not the file that it stands for",
    b"ftrt": "a TensorRT engine",
    b"ptrt": "a TensorRT engine",
    b"lmgg": "a GGML file of before GGUF",
    b"fmgg": "a GGML file of before GGUF",
    b"tjgg": "a GGML file of before GGUF",
    b"algg": "a GGML adapter of before GGUF",
    b"\x12\x01\x00\x00\x00\x00\x00\x00": "parameters of MXNet",
    b"LITERTLM": "a LiteRT-LM bundle",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ\x00": "an xz archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive: unpack it first",
    **dict.fromkeys(
        (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), "compressed by zlib: dump it without `compress`"
    ),
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"Rar!": "a rar archive: unpack it first",
    b"\x7fELF": "a compiled library",
    b"MZ\x90\x00": "a compiled library",
    b"IxF": "an index of faiss",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
"""First bytes → what the file is, which is none that is read."""
_FOREIGN_AT_4 = {b"ORTM": "a model in ONNX Runtime's own format", b"ET12": "an ExecuTorch program"}
"""Bytes behind the first four, as files of flatbuffers have them → what the file is."""
_BY_NAME = {
    ".engine": "a TensorRT engine",
    ".plan": "a TensorRT engine",
    ".trt": "a TensorRT engine",
    ".nemo": "an archive of NeMo",
    ".mlmodel": "a Core ML model",
    ".mlpackage": "a Core ML model",
    ".pb": "a graph of TensorFlow",
    ".xml": "a graph of OpenVINO",
    ".pdiparams": "parameters of a Paddle program",
    ".pdmodel": "a Paddle program",
    ".param": "a graph of ncnn",
    ".caffemodel": "a Caffe model",
    ".t7": "a file of Lua's Torch",
    ".mnn": "an MNN model",
    ".rknn": "an RKNN model",
    ".dlc": "a model for SNPE",
    ".hef": "a model for Hailo",
    ".om": "a model for Ascend",
    ".mar": "an archive of TorchServe",
    ".ot": "a file of tch-rs",
    ".task": "a bundle of MediaPipe",
    ".litertlm": "a LiteRT-LM bundle",
    ".distcp": "a part of a distributed checkpoint: convert it by torch.distributed.checkpoint first",
    ".index": "the index of a TensorFlow checkpoint",
    ".tflite": "a TFLite model",
    ".whl": "a wheel",
}
"""Suffix → what a file of it is, which is none that is read."""
_CTRANSLATE = re.compile(rb"[\x01-\x0f]\0\0\0[\x01-\xff]\0\w+Spec\0")
_PAGE = re.compile(rb"\s*(<!doctype\s+html|<html|<head)", re.IGNORECASE)
_ERROR = re.compile(
    rb"\s*(Invalid username or password|Entry not found|Repository not found|Access to model )"
)
_MAPS, _FLAX = {bytes([code]) for code in range(0x81, 0x90)}, b"\xa6params"
"""Of msgpack: maps of a few keys, and the key of a network's parameters."""
_ADAPTER = re.compile(rb"(?<![a-z])lora[_.](down|up|A|B|a|b)\b|hada_w1|lokr_w", re.ASCII)
_END_OF_TABLE = bytes.fromhex("57fb808b247547db")
_TEXT_PICKLE = b"(dp"


def format_by_content(head: bytes, size: int) -> str | None:
    """The format of a file of ``size`` bytes that begins with ``head``, as far as its first bytes tell."""
    length = int.from_bytes(head[:8], "little")
    if len(head) > 9 and head[8:9] == b"{" and 2 <= length <= size - 8 and head[9:10] in b'"} \n':
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(head)
    for magic, found in _MAGIC.items():
        if head.startswith(magic):
            return found
    if head[4:8] == b"TFL3":
        return "tflite"
    if _PICKLE.match(head) or head.startswith(_TEXT_PICKLE):
        return "pytorch"
    if head[:1] in _MAPS and _FLAX in head[:64]:
        return "flax"
    return None


def kind_of(head: bytes, size: int) -> str | None:
    """As :func:`format_by_content`, with ``pickle`` for a bare pickle, which may hold anything."""
    kind = format_by_content(head, size)
    return "pickle" if kind and head[:1] in (b"\x80", b"(") else kind


def foreign(head: bytes) -> str | None:
    """What a file is that holds no weights in a format that is read, in words."""
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            return what
    if _CTRANSLATE.match(head):
        return "a CTranslate2 model"
    if _PAGE.match(head) or _ERROR.match(head):
        return "an HTML page or a message of a server, saved as weights"
    return _FOREIGN_AT_4.get(head[4:8])


def foreign_by_name(name: str) -> str | None:
    """What a file is by its suffix, where nothing of the kind is read."""
    return _BY_NAME.get(PurePosixPath(name).suffix.lower())


def is_adapter(head: bytes) -> bool:
    """Whether the header of a safetensors file names matrices of an adapter (LoRA, LoHa, LoKr)."""
    return head[8:9] == b"{" and bool(_ADAPTER.search(head))


def is_bundle(path: Path) -> bool:
    """Whether a file is the index of a TensorFlow checkpoint, which ends as tables of LevelDB do."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - len(_END_OF_TABLE)))
            return stream.read() == _END_OF_TABLE
    except OSError:
        return False


def head_of(path: Path, size: int = HEAD) -> bytes:
    """The first bytes of a regular file; none of what can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size) if os.path.isfile(path) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _of_zip(head: bytes) -> str | None:
    """What a zip archive is by the name of its first file."""
    if len(head) < _FIRST_OF_ZIP.size:
        return None
    _, length, _ = _FIRST_OF_ZIP.unpack_from(head)
    first = head[_FIRST_OF_ZIP.size : _FIRST_OF_ZIP.size + length].decode("utf-8", "replace")
    if _OF_TORCH.fullmatch(first):
        return "pytorch"
    if first in ("metadata.json", "config.json", "model.weights.h5"):
        return "keras"
    if first.endswith(".npy"):
        return "npz"
    if first == "data":
        return "stable_baselines3"
    return None
