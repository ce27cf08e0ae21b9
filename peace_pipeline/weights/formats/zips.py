"""Zip archives by their central directory (PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3); stored files by position."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct, error

import numpy as np

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, ForbiddenPath, UnsupportedFormat
from peace_pipeline.weights.local_blob import Blob, OverwritableBlob

_MAGIC = b"PK\x03\x04"
MAX_FILES = 300_000
MAX_DIRECTORY = 32 << 20
"""Bytes."""

_END = Struct("<4s4H2LH")
_LOCATOR = Struct("<4sLQL")
_END_64 = Struct("<4sQ2H2L4Q")
_FILE = Struct("<4s6H3L5H2L")
_HEADER = Struct("<4s5H3L2H")
_EXTRA = Struct("<2H")
_SHOWN = 100
_MAX_COMMENT = 0xFFFF
_IN_EXTRA = 0xFFFFFFFF
_ZIP64 = 1
_STORED, _DEFLATED, _UNREADABLE = 0, 8, -1
_ENCRYPTED, _DESCRIBED_AFTER = 1, 8
"""Bits of a file's flags: it is encrypted; its checksum and sizes follow it."""
_DESCRIPTOR = b"PK\x07\x08"
_CHECKSUM_IN_HEADER, _CHECKSUM_IN_DIRECTORY = 14, 16
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: where its entry in the directory and its header stand, how many bytes it takes there, and
    how many it has."""

    name: str
    entry: int
    header: int
    method: int
    stored: int
    size: int

    @property
    def is_stored(self) -> bool:
        """Whether its bytes lie in the archive as they are."""
        return self.method == _STORED


class Archive:
    """The files of a zip archive, by name in the order of the directory.

    Raises:
        CorruptFile: where the directory contradicts itself, names a file twice or lets two overlap.
        ExcessiveSize: where it has more files than a checkpoint.
        ForbiddenPath: where a name leads out of its folder.
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        count, start, stop = _directory(blob)
        if count > MAX_FILES or stop - start > MAX_DIRECTORY:
            raise ExcessiveSize(f"{blob.name}: an archive of {count:,} files")
        try:
            found = list(_members(blob.read(start, stop).tobytes(), start))
        except error as failure:
            raise CorruptFile(f"{blob.name}: the archive's directory is damaged") from failure
        self.members = {member.name: member for member in found}
        if not len(self.members) == len(found) == count:
            raise CorruptFile(f"{blob.name}: the archive names a file twice, or another number than it holds")
        headers = sorted({member.header for member in found})
        self._limits = dict(pairwise([*headers, start]))
        if len(headers) < count:
            raise CorruptFile(f"{blob.name}: two files of the archive begin at one place")
        for member in found:
            self._check(member)

    def origin_of_stored(self, member: Member) -> int:
        """Where the bytes of a file begin that lie there as they are.

        Raises:
            UnsupportedFormat: where it is compressed, so that they can't be found by position.
        """
        if not member.is_stored:
            raise UnsupportedFormat(f"{self._what(member)} is compressed or encrypted")
        return self.origin(member)

    def content(self, member: Member, limit: int) -> bytes:
        """A whole file, inflated where it is compressed.

        Raises:
            ExcessiveSize: where that are more than ``limit`` bytes.
        """
        what = self._what(member)
        if max(member.size, member.stored) > limit:
            raise ExcessiveSize(f"{what} has {member.size:,} bytes")
        if member.is_stored:
            origin = self.origin(member)
            return self._blob.read(origin, origin + member.size).tobytes()
        if member.method != _DEFLATED:
            raise UnsupportedFormat(f"{what} is compressed by an unknown method, or encrypted")
        origin = self.origin(member)
        compressed = self._blob.read(origin, origin + member.stored).tobytes()
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(compressed, member.size + 1)
        except zlib.error as failure:
            raise CorruptFile(f"{what} can't be inflated") from failure
        if len(content) != member.size:
            raise CorruptFile(f"{what} does not inflate to {member.size:,} bytes")
        return content

    def beginning(self, member: Member, size: int) -> bytes:
        """At most the first ``size`` bytes of a compressed file."""
        if member.method != _DEFLATED:
            raise UnsupportedFormat(f"{self._what(member)} is compressed by an unknown method, or encrypted")
        origin = self.origin(member)
        compressed = self._blob.read(origin, origin + min(member.stored, 2 * size)).tobytes()
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(compressed, size)
        except zlib.error as failure:
            raise CorruptFile(f"{self._what(member)} can't be inflated") from failure

    def origin(self, member: Member) -> int:
        """Where the bytes of a file begin, after its header, which may be longer than the directory knows."""
        start = member.header + _HEADER.size
        signature, *_, name, extra = _HEADER.unpack(self._blob.read(member.header, start).tobytes())
        origin = int(start + name + extra)
        if signature != _MAGIC or origin + member.stored > self._limits[member.header]:
            raise CorruptFile(f"{self._what(member)} is not where the directory says")
        return origin

    def checksums(self, member: Member) -> list[int]:
        """Where the checksum (CRC-32, little-endian) of a file stands: in the directory, and before or after it."""
        flags = _HEADER.unpack(self._blob.read(member.header, member.header + _HEADER.size).tobytes())[2]
        beside = member.header + _CHECKSUM_IN_HEADER
        if flags & _DESCRIBED_AFTER:
            beside = self.origin(member) + member.stored
            signature = self._blob.read(beside, min(beside + 4, self._limits[member.header])).tobytes()
            beside += len(_DESCRIPTOR) if signature == _DESCRIPTOR else 0
        if beside + 4 > self._limits[member.header]:
            raise CorruptFile(f"{self._what(member)} has no checksum")
        return [member.entry + _CHECKSUM_IN_DIRECTORY, beside]

    def _what(self, member: Member) -> str:
        return f"{self._blob.name}: {member.name[:_SHOWN]!r}"

    def _check(self, member: Member) -> None:
        what = self._what(member)
        end = member.header + _HEADER.size + len(member.name) + member.stored
        if end > self._limits[member.header]:
            raise CorruptFile(f"{what} overlaps what follows it in the archive")
        if member.method == _STORED and member.size != member.stored:
            raise CorruptFile(f"{what} has two sizes")
        if member.name.startswith("/") or ".." in member.name.replace("\\", "/").split("/"):
            raise ForbiddenPath(f"{what} leads out of the archive")


def is_zip(blob: Blob) -> bool:
    """Whether a file begins as an archive."""
    return blob.read(0, min(len(_MAGIC), blob.size)).tobytes() == _MAGIC


def update_checksums(blob: OverwritableBlob, overwritten: Iterable[int]) -> None:
    """Give the files of an archive in which bytes at these positions were overwritten their right checksums."""
    archive = Archive(blob)
    members = sorted(archive.members.values(), key=lambda member: member.header)
    headers = [member.header for member in members]
    for index in {bisect_right(headers, position) - 1 for position in overwritten}:
        origin, checksum = archive.origin_of_stored(members[index]), 0
        for start in range(0, members[index].size, _PIECE):
            stop = min(start + _PIECE, members[index].size)
            checksum = zlib.crc32(blob.read(origin + start, origin + stop).data, checksum)
        for position in archive.checksums(members[index]):
            blob.write(position, np.array([checksum], "<u4").view(np.uint8))


def _directory(blob: Blob) -> tuple[int, int, int]:
    """Number of files, and the first and last byte of the directory, as the end of the archive says."""

    def corrupt(reason: str) -> CorruptFile:
        return CorruptFile(f"{blob.name}: a zip archive {reason}")

    tail_start = max(0, blob.size - _END.size - _MAX_COMMENT)
    tail = blob.read(tail_start, blob.size).tobytes()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or found + _END.size > len(tail):
        raise corrupt("without an end, as if cut off")
    *_, count, size, start, comment = _END.unpack_from(tail, found)
    end = tail_start + found
    if end + _END.size + comment != blob.size:
        raise corrupt("with something after its end")
    if end >= _LOCATOR.size:
        signature, _, at, _ = _LOCATOR.unpack(blob.read(end - _LOCATOR.size, end).tobytes())
        if signature == b"PK\x06\x07":
            if at + _END_64.size > end:
                raise corrupt("whose end is not where it says")
            signature, *_, count, size, start = _END_64.unpack(blob.read(at, at + _END_64.size).tobytes())
            if signature != b"PK\x06\x06":
                raise corrupt("whose end is not where it says")
            end = at
    if start + size != end:
        raise corrupt("whose directory is not where it says")
    return count, start, end


def _members(directory: bytes, start: int) -> Iterator[Member]:
    position = 0
    while position < len(directory):
        fields = _FILE.unpack_from(directory, position)
        signature, _, _, flags, method, _, _, _, stored, size, name, extra, comment, *_, header = fields
        entry, extra_start = start + position, position + _FILE.size + name
        text = directory[position + _FILE.size : extra_start].decode("utf-8", "surrogateescape")
        if _IN_EXTRA in (size, stored, header):
            wide = _large(directory[extra_start : extra_start + extra])
            size, stored, header = (
                next(wide) if value == _IN_EXTRA else value for value in (size, stored, header)
            )
        position = extra_start + extra + comment
        if signature != b"PK\x01\x02" or position > len(directory):
            raise error
        yield Member(text, entry, header, _UNREADABLE if flags & _ENCRYPTED else method, stored, size)


def _large(extra: bytes) -> Iterator[int]:
    """The numbers of the zip64 field: size, stored size and header, as far as they don't fit into 32 bits."""
    position = 0
    while position < len(extra):
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if kind == _ZIP64:
            yield from Struct(f"<{length // 8}Q").unpack_from(extra, position)
        position += length
    raise error
