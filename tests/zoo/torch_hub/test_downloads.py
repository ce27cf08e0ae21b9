"""Downloads: whole or not at all, verified, and tried again where the failure may pass."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from peace_pipeline.zoo.source import FetchError
from peace_pipeline.zoo.torch_hub.downloads import download, refresh
from tests.zoo.loopback import Fault, Loopback

DATA = bytes(range(256)) * 50
DIGEST = hashlib.sha256(DATA).hexdigest()
LIMIT = 1 << 20
CUT = Fault(body=DATA, cut=True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are listed rather than slept."""
    found: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", found.append)
    return found


@pytest.fixture
def server(waits: list[float]) -> Iterator[Loopback]:
    with Loopback() as server:
        server.files["/file"] = DATA
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which no temporary file is left behind."""
    yield tmp_path / "new" / "folder"
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("sha256", [None, DIGEST[:8], DIGEST])
def test_a_file_arrives(server: Loopback, folder: Path, sha256: str | None) -> None:
    download(f"{server.url}/file", folder / "x", sha256, limit=LIMIT)
    assert (folder / "x").read_bytes() == DATA
    assert server.answered == [("/file", 200)]


@pytest.mark.parametrize("fault", [Fault(408), Fault(429), Fault(500), Fault(503), CUT])
def test_a_passing_failure_is_tried_again(
    server: Loopback, folder: Path, waits: list[float], fault: Fault
) -> None:
    server.faults["/file"] = [fault] * 4
    download(f"{server.url}/file", folder / "x", DIGEST[:8], limit=LIMIT)
    assert (folder / "x").read_bytes() == DATA
    assert len(waits) == 4
    assert waits[0] < waits[-1] <= 40


@pytest.mark.parametrize("fault", [Fault(503), CUT])
def test_a_failure_that_stays(server: Loopback, folder: Path, fault: Fault) -> None:
    server.faults["/file"] = [fault] * 5
    with pytest.raises(FetchError, match="/file") as caught:
        download(f"{server.url}/file", folder / "x", limit=LIMIT)
    assert caught.value.passing
    assert not (folder / "x").exists()


@pytest.mark.parametrize("path", ["/absent", "/forbidden"])
def test_a_failure_for_good_is_not_tried_again(server: Loopback, folder: Path, path: str) -> None:
    server.faults["/forbidden"] = [Fault(403)]
    with pytest.raises(FetchError, match=r"40[34]") as caught:
        download(server.url + path, folder / "x", limit=LIMIT)
    assert not caught.value.passing
    assert len(server.answered) == 1


def test_the_server_says_when_to_come_back(server: Loopback, folder: Path, waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60))
    values = ["77", later, "100000", "soon"]
    server.faults["/file"] = [Fault(429, headers={"Retry-After": value}) for value in values]
    download(f"{server.url}/file", folder / "x", limit=LIMIT)
    assert waits[0] == 77
    assert 50 < waits[1] <= 60
    assert waits[2] == 120
    assert waits[3] < 40


def test_wrong_bytes_are_fetched_once_more(server: Loopback, folder: Path) -> None:
    server.faults["/file"] = [Fault(body=b"wrong")]
    download(f"{server.url}/file", folder / "x", DIGEST[:8], limit=LIMIT)
    assert (folder / "x").read_bytes() == DATA
    server.answered.clear()
    with pytest.raises(FetchError, match=f"sha256 begins with {DIGEST[:8]}, not 00000000") as caught:
        download(f"{server.url}/file", folder / "y", "00000000", limit=LIMIT)
    assert caught.value.passing
    assert len(server.answered) == 2
    assert not (folder / "y").exists()


def test_a_file_without_end_is_given_up(server: Loopback, folder: Path) -> None:
    with pytest.raises(FetchError, match="larger than 1000 bytes"):
        download(f"{server.url}/file", folder / "x", limit=1000)
    assert not (folder / "x").exists()


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:99999/x", "http://\u2024/x"])
def test_an_address_that_is_none(folder: Path, url: str, waits: list[float]) -> None:
    with pytest.raises(FetchError) as caught:
        download(url, folder / "x", limit=LIMIT)
    assert not caught.value.passing
    assert not waits


def test_a_server_that_is_gone(folder: Path, waits: list[float]) -> None:
    with Loopback() as server:
        url = server.url
    with pytest.raises(FetchError, match="refused") as caught:
        download(f"{url}/file", folder / "x", limit=LIMIT)
    assert caught.value.passing
    assert len(waits) == 4


def test_a_redirect_to_a_local_file_is_refused(server: Loopback, folder: Path) -> None:
    server.faults["/file"] = [Fault(302, headers={"Location": "file:///etc/hostname"})]
    with pytest.raises(FetchError) as caught:
        download(f"{server.url}/file", folder / "x", limit=LIMIT)
    assert not caught.value.passing


def test_a_full_disk_is_no_failure_of_the_model(
    server: Loopback, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(OSError, match="No space left"):
        download(f"{server.url}/file", folder / "x", limit=LIMIT)
    assert len(server.answered) == 1


def test_a_file_is_refreshed_only_when_it_changed(server: Loopback, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    for content, statuses in ((DATA, [200]), (DATA, [304]), (b"new", [200]), (b"new", [304])):
        server.answered.clear()
        server.files["/file"] = content
        refresh(f"{server.url}/file", path, limit=LIMIT)
        assert path.read_bytes() == content
        assert [status for _, status in server.answered] == statuses
    path.unlink()
    refresh(f"{server.url}/file", path, limit=LIMIT)
    assert path.read_bytes() == b"new"


def test_downloads_side_by_side(server: Loopback, folder: Path) -> None:
    url, path = f"{server.url}/file", folder / "x"
    threads = [
        threading.Thread(target=download, args=(url, path, DIGEST), kwargs={"limit": LIMIT}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == DATA
