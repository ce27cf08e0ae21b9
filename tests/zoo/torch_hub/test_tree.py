"""The Python files of a repository, read out of archives that may be damaged or hostile."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.zoo.torch_hub.tree import Limits, UnreadableTree, read_tree
from tests.zoo.torch_hub.repositories import HUBCONF, config, reasons, tarred, zipped


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(100), b"\x1f\x8b" + bytes(50)])
def test_an_archive_that_is_none(lake: Lake, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "repo.zip").write_bytes(content)
    (reason,) = reasons(crawl_zoo(lake, config(tmp_path / "repo.zip"))).values()
    assert "no folder or archive that can be read" in reason


def test_archives_that_are_cut_or_grow(lake: Lake, tmp_path: Path) -> None:
    whole = tarred(tmp_path / "repo.tar.gz", {"hubconf.py": HUBCONF, "x.py": os.urandom(5000).hex()})
    whole.write_bytes(whole.read_bytes()[:-1000])
    assert "can be read" in next(iter(reasons(crawl_zoo(lake, config(whole))).values()))
    bomb = tarred(tmp_path / "bomb.tar.gz", {"zeros.bin": "0" * (2 << 20), "hubconf.py": HUBCONF})
    with pytest.raises(UnreadableTree, match="unpacks to more than"):
        read_tree(bomb, Limits(unpacked=1 << 20))
    bomb = zipped(tmp_path / "bomb.zip", {"a.py": "#" * (2 << 20), "hubconf.py": HUBCONF})
    with pytest.raises(UnreadableTree, match="more than 1048576 bytes of Python"):
        read_tree(bomb, Limits(sources=1 << 20))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("compression", ["", "gz", "bz2"])
@pytest.mark.parametrize("before", [0, 1])
def test_headers_that_would_fill_the_memory(
    tmp_path: Path, kind: bytes, compression: str, before: int
) -> None:
    with tarfile.open(tmp_path / "repo.tar", f"w:{compression}") as archive:  # type: ignore[call-overload]
        for _ in range(before):
            archive.addfile(tarfile.TarInfo("hubconf.py"))
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 4 << 20
        archive.addfile(header, io.BytesIO(bytes(header.size)))
        archive.addfile(tarfile.TarInfo("y"))
    with pytest.raises(UnreadableTree, match="headers of a member take more than"):
        read_tree(tmp_path / "repo.tar")


def test_an_archive_of_very_many_files(tmp_path: Path) -> None:
    three = tarred(tmp_path / "a.tar.gz", dict.fromkeys(["a.py", "b.py", "c"], ""))
    assert len(read_tree(three, Limits(members=3)).sources) == 2
    with pytest.raises(UnreadableTree, match="more than 2 files"):
        read_tree(three, Limits(members=2))


def test_an_archive_that_could_ask_for_any_memory_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "repo.tar.xz", "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("hubconf.py"))
    with pytest.raises(UnreadableTree, match="no folder or archive that can be read"):
        read_tree(tmp_path / "repo.tar.xz")
