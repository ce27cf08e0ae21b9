"""Which files of a folder are which network: shards belong together, formats and precisions are variants of one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from natsort import natsorted

from peace_pipeline.zoo.formats import FORMATS, UNKNOWN, format_of

SHARD = re.compile(r"((?!.*fold[-_.]?\d)[^/]+?)(?:[-_.]?\d{5}|[-_.]\d{1,4})-of-(\d{1,5})((?:\.\w+)+)", re.I)
"""A shard's name: of which file, in how many, of which suffixes."""

_RANK = re.compile(r"(consolidated\.|(?:.*?[-_.])?rank[-_]?)(\d+)(\D.*)", re.I)
"""The name of one process's part of each tensor, in tensor parallelism, FSDP or ZeRO."""
_WORLD = re.compile(r"world_size_(\d+)|zero_pp_rank", re.I)

_WHOLE = re.compile(
    r"(pytorch_|tf_|flax_|openvino_|diffusion_(pytorch|flax)_)?model|consolidated|variables|saved_model", re.I
)
"""What the file is called that is the whole of its folder, as the Hub's libraries write it."""

_ADAPTER = re.compile(r"adapter_model|pytorch_adapter", re.I)
_TOKEN = (
    r"fp(?:32|16|8|4)(?:_e\dm\d\w*)?|f(?:32|16)|bf16|b?float(?:32|16)|half|q?u?int(?:8|4)|[2-8]bit|nf4|bnb4?"
    r"|mxfp4|quant(?:ized|ised)|gptq|awq"
)
_OF_GGUF = r"(?:(?:ud|i1)[-_])?i?q\d(?:_\w+)?|tq\d_\d|mxfp4_\w+"
_OF_ONNX = r"q\d(?:f16)?|o[1-4]|quant|arm64|avx2|avx512(?:_vnni)?|dynamic|static"
_PRECISION = {
    suffix: re.compile(rf"[-_.](?:{_TOKEN}{more})$", re.I)
    for suffix, more in ((".gguf", f"|{_OF_GGUF}"), (".onnx", f"|{_OF_ONNX}"), ("", ""))
}
"""Suffix → what files of one network may be called apart in; elsewhere ``q1`` and ``q2`` are two networks."""
_IS_PRECISION, _IS_QUANTISATION = re.compile(_TOKEN, re.I), re.compile(f"{_TOKEN}|{_OF_GGUF}", re.I)
_BITS = (
    (re.compile(r"(?<![a-z])(b?f|float|fp)(16)|half", re.I), 1),
    (re.compile(r"fp8|q8|int8|8bit", re.I), 2),
)
_DIGIT = re.compile(r"(?:q|int|nf|fp|bnb)(\d)|(\d)bit", re.I)
_FULL = re.compile(r"[-_.](fp32|f32|float32)$", re.I)
_FOLDERS = re.compile(r"onnx|openvino|gguf|flax|variables|tflite|coreml", re.I)
_LOWEST = 6


@dataclass(frozen=True)
class Network:
    """One network of a folder: ``files`` are read, ``variants`` hold it in other formats or precisions.

    ``name`` is what it is called in its folder, nothing for that which is the folder's own; ``missing`` says what
    shards are not there.
    """

    name: str
    files: tuple[str, ...]
    variants: tuple[str, ...] = ()
    missing: str | None = None


@dataclass(frozen=True)
class _Unit:
    """A file, or the shards of one."""

    key: str
    files: tuple[str, ...]
    missing: str | None
    precision: int

    def rank(self, order: Sequence[str]) -> tuple[bool, bool, int, int]:
        """What is read first: whole, not quantised, of the first format in an order, of the highest precision."""
        return (
            self.missing is not None,
            self.precision > 1,
            order.index(format_of(self.files[0])),
            self.precision,
        )


_ORDER = [*dict.fromkeys(FORMATS.values()), UNKNOWN]


def variant_folders(weights: Mapping[str, Sequence[str]], *, described: bool) -> list[str]:
    """The subfolders, given with the names of their weights, that hold their parent's network in another way.

    Where the parent is ``described`` as a model: those called as a format or a precision. Elsewhere those called as
    quantisations of GGUF that hold nothing else.
    """
    quantised = [
        name
        for name, files in weights.items()
        if _IS_QUANTISATION.fullmatch(name)
        and files
        and all(file.lower().endswith(".gguf") for file in files)
    ]
    if not described:
        return quantised if len(quantised) > 1 else []
    called = [name for name in weights if _IS_PRECISION.fullmatch(name) or _FOLDERS.fullmatch(name)]
    return [name for name in weights if weights[name] and (name in called or name in quantised)]


def networks(
    names: Iterable[str],
    indexes: Iterable[Sequence[str]] = (),
    formats: Sequence[str] | None = None,
) -> list[Network]:
    """The networks that weight files of a folder (and of subfolders that hold variants) make, the folder's own first.

    ``indexes`` are the files that each index of shards names: together they are one. Of several formats and precisions
    of one network the unquantised comes first, then the format that comes first in ``formats``, by default in
    ``FORMATS``.
    """
    order = [*dict.fromkeys([*(formats or ()), *_ORDER])]
    groups: dict[str, list[_Unit]] = defaultdict(list)
    for unit in _units(natsorted(names), indexes):
        groups[unit.key].append(unit)
    if (
        len(groups) > 1
        and "" not in groups
        and (adapters := [key for key in groups if _ADAPTER.fullmatch(key)])
    ):
        groups = {"": groups.pop(adapters[0])} | groups
    alone = len(groups) == 1
    return [
        _network("" if alone else key, groups[key], order)
        for key in sorted(groups, key=lambda key: (key != "",))
    ]


def whole_of(name: str, names: Iterable[str], indexes: Iterable[Sequence[str]] = ()) -> Network:
    """What a weight file of a folder is a part of: all shards, or the file alone."""
    units = _units(natsorted({*names, name}), indexes)
    unit = next(unit for unit in units if name in unit.files)
    return Network(name, unit.files, (), unit.missing)


def _network(key: str, units: list[_Unit], order: Sequence[str]) -> Network:
    best, *others = sorted(units, key=lambda unit: unit.rank(order))
    return Network(
        best.files[0] if key else "",
        best.files,
        tuple(name for unit in others for name in unit.files),
        best.missing,
    )


def _units(names: list[str], indexes: Iterable[Sequence[str]]) -> Iterator[_Unit]:
    listed: set[str] = set()
    for shards_of in indexes:
        present = [name for name in names if name in shards_of]
        if present and listed.isdisjoint(present):
            listed |= {*present}
            missing = len({*shards_of}) - len(present)
            said = f"{len(present)} of {len({*shards_of})} shards that the index names" if missing else None
            yield _Unit("", tuple(present), said, _precision(_unsharded(present[0])))
    shards: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    ranks: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        if name in listed:
            continue
        if shard := SHARD.fullmatch(path.name):
            shards[str(path.parent / shard[1]), int(shard[2]), shard[3]].append(name)
        elif rank := _RANK.fullmatch(path.name):
            ranks[str(path.parent / rank[1]), rank[3]].append(name)
        else:
            yield _Unit(_key(name), (name,), None, _precision(name))
    for (stem, count, suffix), parts in shards.items():
        said = None if len(parts) == count else f"{len(parts)} of {count} shards"
        yield _Unit(_key(stem + suffix), tuple(parts), said, _precision(stem + suffix))
    for found in ranks.values():
        yield from _of_ranks(found)


def _of_ranks(names: list[str]) -> Iterator[_Unit]:
    """Files whose names count ranks: parts of one network where they are those of 0, 1, …"""
    numbers = sorted(int(rank[2]) for name in names if (rank := _RANK.fullmatch(PurePosixPath(name).name)))
    world = _WORLD.search(names[0])
    count = max(len(names), int(world[1] or 2) if world else 1)
    if count > 1 and (world or numbers == [*range(count)]):
        said = f"the part of one rank of {count}, and not a whole network: join them first"
        yield _Unit(_key(names[0]), tuple(names), said, _precision(names[0]))
    else:
        for name in names:
            yield _Unit(_key(name), (name,), None, _precision(name))


def _unsharded(name: str) -> str:
    """What a shard's name would be if there were one."""
    shard = SHARD.fullmatch(PurePosixPath(name).name)
    return shard[1] + shard[3] if shard else name


def _stem(name: str) -> str:
    """A file's name without the suffixes of formats: ``best`` for ``best.pth.tar``."""
    stem = PurePosixPath(name).name
    while (suffix := PurePosixPath(stem).suffix.lower()) and (suffix in FORMATS or suffix == ".index"):
        stem = stem[: -len(suffix)]
    return re.sub(r"\.weights$", "", stem)  # of Keras


def _key(name: str) -> str:
    """What all files of one network are called alike; empty for the folder's own."""
    stem = _stem(name)
    pattern = _pattern(name)
    while shorter := pattern.sub("", stem):
        if shorter == stem:
            break
        stem = shorter
    return "" if _WHOLE.fullmatch(stem) else stem


def _pattern(name: str) -> re.Pattern[str]:
    return _PRECISION.get(PurePosixPath(name).suffix.lower(), _PRECISION[""])


def _precision(name: str) -> int:
    """0 for what says no other precision than float32, 1 for 16 bits, then by the bits of the quantisation."""
    stem = "/".join([*PurePosixPath(name).parts[:-1], _stem(name)])
    marks = ""
    pattern = _pattern(name)
    while found := pattern.search(f"-{stem}"):
        marks += f"-{found[0][1:]}"
        stem = stem[: -len(found[0])]
    if not marks or _FULL.fullmatch(marks):
        return 0
    for pattern, rank in reversed(_BITS):
        if pattern.search(marks):
            return rank
    digit = _DIGIT.search(marks)
    return 10 - int(digit[1] or digit[2]) if digit else _LOWEST
