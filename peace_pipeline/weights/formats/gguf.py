"""GGUF: a header of our own parsing, then each tensor by its position; quantised ones are read as float32.

Format: docs/gguf.md of ggml, versions 2 and 3, little-endian. Names stay GGUF's own (``blk.0.attn_q.weight``);
shapes are reversed, as GGUF counts dimensions from the last. llama.cpp stores the rows of a LLaMA's queries and keys
in another order than PyTorch; it is undone (:func:`_unpermuted`).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from peace_pipeline.weights.errors import CorruptFile, DuplicateTensor, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS, MAX_TENSORS, Settings, TensorInfo, dtype_name

MAX_SETTINGS = 100_000
MAX_ITEMS = 5_000_000
"""Texts of all lists. The largest vocabularies have a few hundred thousand words and as many merges."""
MAX_NAME = 1024
MAX_VALUES = 1 << 48
"""Values of a tensor; of an empty one, but for its empty dimensions."""
MAX_NESTING = 4
"""Lists within lists."""

WINDOW = 1 << 20
"""Bytes of the header that are read at once."""
BLOCK = 1 << 16
"""Values that are dequantised at once, in the processor's cache."""

_MAGIC = b"GGUF"
_LENGTH = 8
_LEAST_TENSOR, _LEAST_SETTING = 24, 13
"""Bytes of the shortest ones."""
_STRING, _LIST = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_DTYPES = {
    GGMLQuantizationType.F64: torch.float64,
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
    GGMLQuantizationType.I64: torch.int64,
    GGMLQuantizationType.I32: torch.int32,
    GGMLQuantizationType.I16: torch.int16,
    GGMLQuantizationType.I8: torch.int8,
}
_KINDS = {kind.value: kind for kind in GGML_QUANT_SIZES}
_SHARD = re.compile(r"-\d{5}(-of-\d{5}\.gguf)$", re.IGNORECASE)
_ATTENTION = re.compile(r"blk\.\d+\.attn_([qk])\.(weight|bias)")

Setting = str | int | float


@dataclass(frozen=True)
class _Entry:
    """A tensor at [start, stop). The rows of each of its ``heads``, where it has any, are permuted."""

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    start: int
    stop: int
    heads: int = 0
    eps: float | None = None

    @property
    def dtype(self) -> torch.dtype:
        """What it is read as."""
        return _DTYPES.get(self.kind, torch.float32)

    @property
    def unit(self) -> int:
        """Rows that can only be had together: those of a head, or of a block of values along the only axis."""
        unit = self.shape[0] // self.heads if self.heads else 1
        return math.lcm(unit, GGML_QUANT_SIZES[self.kind][0]) if len(self.shape) == 1 else unit


class GgufFile:
    """An open GGUF file; ``settings`` are the metadata of the model, where another shard has them.

    Its header is read in windows of ``window`` bytes, ``block`` values are dequantised at once.
    """

    def __init__(
        self, blob: Blob, settings: Settings | None = None, *, window: int = WINDOW, block: int = BLOCK
    ) -> None:
        self.blob, self._block = blob, block
        header = _Header(blob, window)
        self.settings = header.settings if settings is None else settings
        self.entries = {
            name: replace(
                entry, heads=_heads(blob.name, name, entry, self.settings), eps=_eps(name, self.settings)
            )
            for name, entry in header.entries().items()
        }

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for name, entry in self.entries.items():
            stored = None if entry.kind in _DTYPES else entry.kind.name.lower()
            yield TensorInfo(name, entry.shape, dtype_name(entry.dtype), stored, entry.eps)

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        entry = self.entries[name]
        if not entry.shape:
            return self._values(entry, 0, 1).view(())
        start, stop = rows or (0, entry.shape[0])
        first, last = start // entry.unit * entry.unit, -(-stop // entry.unit) * entry.unit
        width = math.prod(entry.shape[1:])
        values = self._values(entry, first * width, last * width).view(last - first, *entry.shape[1:])
        if entry.heads and len(values):
            values = _unpermuted(values, (last - first) * entry.heads // entry.shape[0])
        return values[start - first : stop - first]

    def _values(self, entry: _Entry, start: int, stop: int) -> torch.Tensor:
        """Values [start, stop), which begin and end with blocks, flat."""
        count, width = GGML_QUANT_SIZES[entry.kind]
        data = self.blob.read(entry.start + start // count * width, entry.start + stop // count * width)
        if not len(data):
            return torch.empty(0, dtype=entry.dtype)
        if entry.kind in _DTYPES:
            return torch.from_numpy(data).view(entry.dtype)
        values = np.empty(stop - start, np.float32)
        for first in range(0, len(values), self._block):
            block = data[first // count * width : (first + self._block) // count * width]
            with np.errstate(all="ignore"):  # who reads them finds values that are not finite
                values[first : first + self._block] = quants.dequantize(block, entry.kind)
        return torch.from_numpy(values)


@contextmanager
def open_file(path: Path) -> Iterator[GgufFile]:
    """Open a GGUF file, or a shard of one.

    Raises:
        UnreadableCheckpoint: where the header or the length of the file is wrong, or a tensor of a type that can't
            be read.
    """
    first = path.with_name(_SHARD.sub(r"-00001\1", path.name))
    settings = None
    if first != path:
        with local_blob(first) as blob:
            settings = _Header(blob).settings
    with local_blob(path) as blob:
        yield GgufFile(blob, settings)


def _unpermuted(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys as PyTorch's LLaMA has them.

    There the two halves of a head's rows are turned together by the rotary embedding (row i with row i + size/2). For
    llama.cpp, which turns neighbours, ``convert_hf_to_gguf.py`` interleaves them: (heads, 2, size/2) rows become
    (heads, size/2, 2).
    """
    pairs = values.view(heads, -1, 2, *values.shape[1:])
    return pairs.transpose(1, 2).reshape(values.shape)


def _heads(file: str, name: str, entry: _Entry, settings: Settings) -> int:
    """The heads whose rows are permuted: of a LLaMA's queries and keys, where the file counts them; else 0."""
    attention = _ATTENTION.fullmatch(name)
    if not attention or settings.get("general.architecture") != "llama":
        return 0
    key = "llama.attention.head_count"
    if attention[1] == "k" and f"{key}_kv" in settings:
        key = f"{key}_kv"
    if key not in settings or 0 in entry.shape:
        return 0
    heads = settings[key]
    if not isinstance(heads, int):
        raise UnsupportedFormat(f"{file}: numbers of heads that differ by layer are not read")
    if heads <= 0 or not entry.shape or entry.shape[0] % (2 * heads):
        raise CorruptFile(f"{file}: tensor {name!r} of shape {entry.shape} has no {heads:,} heads")
    return heads


def _eps(name: str, settings: Settings) -> float | None:
    """The epsilon of all norms, as the shortest decimal that means it, for a norm's gain."""
    module, _, variable = name.rpartition(".")
    if variable != "weight" or "norm" not in module.rpartition(".")[2]:
        return None
    kind = f"{settings.get('general.architecture')}.attention.layer_norm"
    eps = settings.get(f"{kind}_rms_epsilon", settings.get(f"{kind}_epsilon"))
    return float(str(np.float32(eps))) if isinstance(eps, float) and 0 <= eps < math.inf else None


@cache
def _is_dequantised(kind: GGMLQuantizationType) -> bool:
    """Whether the gguf package can dequantise a type."""
    try:
        quants.dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


class _Header:
    """The metadata of a file, and after them what it says of its tensors."""

    def __init__(self, blob: Blob, size: int = WINDOW) -> None:
        self.blob, self._size, self._at = blob, size, 0
        self._window, self._origin = b"", 0
        self._items_left = MAX_ITEMS
        if self._take(len(_MAGIC)) != _MAGIC:
            self._wrong("it does not begin with GGUF")
        version = self._number("<I")
        if version and not version & 0xFFFF:
            raise UnsupportedFormat(f"{blob.name}: big-endian GGUF is not read")
        if version not in (2, 3):
            raise UnsupportedFormat(f"{blob.name}: version {version} of GGUF is not read")
        self._tensors = self._count("tensors", MAX_TENSORS, _LEAST_TENSOR)
        self.settings: dict[str, Setting | None] = {}
        for _ in range(self._count("settings", MAX_SETTINGS, _LEAST_SETTING)):
            self._setting()

    def entries(self) -> dict[str, _Entry]:
        """The tensors, which lie in the file, aligned and without overlap."""
        alignment = self.settings.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            self._wrong(f"its alignment is {alignment}")
        infos = [self._tensor() for _ in range(self._tensors)]
        origin = -(-self._at // alignment) * alignment
        entries: dict[str, _Entry] = {}
        for name, entry in infos:
            if name in entries:
                raise DuplicateTensor(f"{self.blob.name}: tensor {name!r} is there twice")
            if entry.start % alignment:
                self._wrong(f"tensor {name!r} is not aligned")
            entries[name] = replace(entry, start=origin + entry.start, stop=origin + entry.stop)
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
            if entry.start < end:
                self._wrong(f"tensor {name!r} overlaps another")
            end = entry.stop
        if end > self.blob.size:
            self._wrong(f"its tensors end at {end:,}, the file at {self.blob.size:,}")
        return entries

    def _tensor(self) -> tuple[str, _Entry]:
        """Name, and place from the first tensor on."""
        name = self._text()
        dimensions = self._number("<I")
        if dimensions > MAX_DIMENSIONS:
            raise ExcessiveSize(f"{self.blob.name}: tensor {name!r} has {dimensions:,} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        number, start = self._number("<I"), self._number("<Q")
        kind = _KINDS.get(number)
        if kind is None or not (kind in _DTYPES or _is_dequantised(kind)):
            called = kind.name.lower() if kind else f"type {number}"
            raise UnsupportedFormat(f"{self.blob.name}: tensor {name!r} is in {called}, which is not read")
        if math.prod(size or 1 for size in shape) > MAX_VALUES:
            self._wrong(f"tensor {name!r} of shape {shape} can't be")
        count, width = GGML_QUANT_SIZES[kind]
        if (shape[-1] if shape else 1) % count:
            self._wrong(f"tensor {name!r} of shape {shape} is in blocks of {count}")
        return name, _Entry(shape, kind, start, start + math.prod(shape) // count * width)

    def _setting(self) -> None:
        key = self._text()
        if key in self.settings:
            self._wrong(f"it sets {key!r} twice")
        self.settings[key] = self._value(self._number("<I"), MAX_NESTING)

    def _value(self, kind: int, nesting: int) -> Setting | None:
        """A number or short text; long texts and lists are passed over."""
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _LIST:
            self._skip_list(nesting)
            return None
        if kind != _STRING:
            self._wrong(f"it has a value of type {kind}")
        length = self._number("<Q")
        if length <= MAX_NAME:
            return self._take(length).decode(errors="replace")
        self._skip(length)
        return None

    def _skip_list(self, nesting: int) -> None:
        kind, count = self._number("<I"), self._number("<Q")
        if kind in _SCALARS:
            self._skip(count * struct.calcsize(_SCALARS[kind]))
            return
        self._items_left -= count
        if self._items_left < 0:
            raise ExcessiveSize(f"{self.blob.name}: lists of more than {MAX_ITEMS:,} texts")
        if not nesting:
            raise ExcessiveSize(f"{self.blob.name}: more than {MAX_NESTING} lists within lists")
        if kind == _STRING:
            self._skip_texts(count)
            return
        for _ in range(count):
            self._value(kind, nesting - 1)

    def _skip_texts(self, count: int) -> None:
        """Pass over texts window by window: there are as many as a vocabulary has words."""
        while count:
            self._take(_LENGTH)
            at = self._at - _LENGTH - self._origin
            while count and at <= len(self._window) - _LENGTH:
                at += _LENGTH + int.from_bytes(self._window[at : at + _LENGTH], "little")
                count -= 1
            self._at = self._origin
            self._skip(at)

    def _count(self, what: str, limit: int, least: int) -> int:
        """A number of things of which each takes that many bytes at least."""
        count = self._number("<Q")
        if count > self.blob.size // least:
            self._wrong(f"it can't hold {count:,} {what}")
        if count > limit:
            raise ExcessiveSize(f"{self.blob.name}: more than {limit:,} {what}")
        return count

    def _text(self) -> str:
        length = self._number("<Q")
        if length > MAX_NAME:
            raise ExcessiveSize(f"{self.blob.name}: a name of {length:,} bytes")
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            self._wrong("a name is no text")

    def _number(self, form: str) -> int:
        (number,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return number

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        if start < self._origin or self._at > self._origin + len(self._window):
            stop = min(max(self._at, start + self._size), self.blob.size)
            self._window, self._origin = self.blob.read(start, stop).tobytes(), start
        return self._window[start - self._origin : self._at - self._origin]

    def _skip(self, count: int) -> None:
        if count > self.blob.size - self._at:
            self._wrong("it ends within its header")
        self._at += count

    def _wrong(self, reason: str) -> NoReturn:
        raise CorruptFile(f"{self.blob.name}: not a whole GGUF file: {reason}")
