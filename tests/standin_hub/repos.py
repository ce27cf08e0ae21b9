"""Repositories on disk: one folder a revision, and one JSON file a repository with its commits and settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.standin_hub.describing import FORMATS, describe, identifier

LFS_SUFFIXES = {*FORMATS, ".ckpt", ".pkl", ".npz", ".npy", ".tflite", ".zip"}
LFS_BYTES = 10 << 20
RECORD = "repo.json"


@dataclass(frozen=True)
class File:
    """A file of a revision: its git object, and for a large file the hash of its content."""

    size: int
    oid: str
    sha256: str | None = None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid

    @property
    def pointer_size(self) -> int:
        return len(_pointer(self.sha256 or "", self.size))


@dataclass(frozen=True)
class Commit:
    """A revision; ``folder`` is the revision whose folder holds its files."""

    sha: str
    at: str
    folder: str
    files: dict[str, File]
    described: dict[str, Any]


@dataclass(frozen=True)
class Repo:
    """A repository as it is now: every change makes a new one."""

    id: str
    folder: Path
    commits: tuple[Commit, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    encoded: dict[tuple[str, ...], bytes] = field(default_factory=dict, init=False, compare=False, repr=False)
    """The JSON of parts of ``item`` by the names of its fields."""

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    @cached_property
    def item(self) -> dict[str, Any]:
        """The metadata of the newest revision; settings overrule what was read from its files."""
        return self.item_at(self.head)

    def item_at(self, commit: Commit) -> dict[str, Any]:
        """The metadata of a revision, without sizes and hashes of files."""
        return {
            "_id": identifier(self.id),
            "id": self.id,
            "modelId": self.id,
            "author": self.id.partition("/")[0],
            "sha": commit.sha,
            "lastModified": commit.at,
            "createdAt": self.commits[0].at,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "trendingScore": 0,
            "usedStorage": sum(file.size for file in commit.files.values()),
            "siblings": [{"rfilename": path} for path in commit.files],
            **commit.described,
            **self.settings,
        }

    def commit(self, revision: str) -> Commit | None:
        """The revision by its sha, or the newest by its branch."""
        if revision in ("main", "refs/heads/main"):
            return self.head
        return next((commit for commit in self.commits if commit.sha == revision), None)

    def path(self, commit: Commit, name: str) -> Path:
        """Where a file of a revision lies."""
        return self.folder / commit.folder / name

    def save(self) -> None:
        """Write the record, whole or not at all."""
        record = {"id": self.id, "settings": self.settings, "commits": [asdict(c) for c in self.commits]}
        fresh = self.folder / f"{RECORD}.new"
        fresh.write_text(json.dumps(record))
        fresh.replace(self.folder / RECORD)

    @classmethod
    def load(cls, folder: Path) -> Repo:
        """The repository that ``save`` wrote."""
        record = json.loads((folder / RECORD).read_bytes())
        commits = [
            Commit(**commit | {"files": {path: File(**file) for path, file in commit["files"].items()}})
            for commit in record["commits"]
        ]
        return cls(record["id"], folder, tuple(commits), record["settings"])


class Repos:
    """All repositories under a folder, indexed in memory."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        found = (Repo.load(path.parent) for path in sorted(self.root.glob(f"*/*/{RECORD}")))
        self.repos = {repo.id: repo for repo in found}
        self._now = max((commit.at for repo in self.repos.values() for commit in repo.commits), default="")
        self._orders: dict[str, list[tuple[Any, str]]] = {}
        self._lock = threading.RLock()

    def push(
        self, repo_id: str, files: Mapping[str, bytes | Path], at: datetime | None = None, **settings: Any
    ) -> str:
        """A new revision that holds exactly these files; returns its sha. Files on disk are copied."""
        return self._push(repo_id, files, at, settings, shutil.copyfile)

    def touch(self, repo_id: str, at: datetime | None = None) -> str:
        """A new revision with the files of the newest one."""
        with self._lock:
            repo = self.repos[repo_id]
            sha, moment = self._next(repo_id, repo.head.files, at)
            self._keep(replace(repo, commits=(*repo.commits, replace(repo.head, sha=sha, at=moment))))
        return sha

    def set(self, repo_id: str, **settings: Any) -> None:
        """Change fields of a repository's metadata without a revision: gated, private, disabled, likes …"""
        with self._lock:
            repo = self.repos[repo_id]
            self._keep(replace(repo, settings=repo.settings | settings))

    def delete(self, repo_id: str) -> None:
        """Remove a repository with its files."""
        with self._lock:
            repo = self.repos.pop(repo_id)
            self._orders.clear()
        shutil.rmtree(repo.folder)

    def import_folder(self, folder: Path, owner: str) -> list[str]:
        """Push every model folder in Hub layout that is new or changed, by hard links; returns their ids."""
        pushed = []
        for model in sorted(path for path in Path(folder).glob("[!.]*") if path.is_dir()):
            files = {
                str(file.relative_to(model)): file for file in sorted(model.rglob("*")) if file.is_file()
            }
            repo = self.repos.get(f"{owner}/{model.name}")
            if files and (repo is None or repo.head.files != {p: _file(p, f) for p, f in files.items()}):
                self._push(f"{owner}/{model.name}", files, None, {}, _link)
                pushed.append(f"{owner}/{model.name}")
        return pushed

    def count_download(self, repo_id: str) -> None:
        """What a request for config.json does to the figure on the Hub; not written until the next change."""
        with self._lock:
            if repo := self.repos.get(repo_id):
                downloads = repo.item["downloads"] + 1
                self.repos[repo_id] = replace(repo, settings=repo.settings | {"downloads": downloads})
                self._orders.pop("downloads", None)

    def ordered(self, field_name: str) -> list[tuple[Any, str]]:
        """(value, id) of every repository in ascending order."""
        with self._lock:
            if field_name not in self._orders:
                keys = ((repo.item[field_name], repo.id) for repo in self.repos.values())
                self._orders[field_name] = sorted(keys)
            return self._orders[field_name]

    def _push(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        at: datetime | None,
        settings: dict[str, Any],
        place: Callable[[Path, Path], Any],
    ) -> str:
        owner, _, name = repo_id.partition("/")
        if not owner or not name or "/" in name:
            raise ValueError(f"{repo_id!r} is not of the form owner/name")
        with self._lock:
            repo = self.repos.get(repo_id) or Repo(repo_id, self.root / owner / name)
            hashed = {path: _file(path, content) for path, content in sorted(files.items())}
            sha, moment = self._next(repo_id, hashed, at)
            for path, content in files.items():
                _write(repo.folder / sha / path, content, place)
            (repo.folder / sha).mkdir(parents=True, exist_ok=True)
            commit = Commit(sha, moment, sha, hashed, describe(repo.folder / sha, hashed))
            changed = replace(repo, commits=(*repo.commits, commit), settings=repo.settings | settings)
            self._keep(changed)
        return sha

    def _next(self, repo_id: str, files: dict[str, File], at: datetime | None) -> tuple[str, str]:
        """The sha and the moment of a new revision; the clock never stands still or turns back."""
        moment = _iso(at or datetime.now(UTC))
        if at is None and moment <= self._now:
            moment = _iso(datetime.fromisoformat(self._now) + timedelta(milliseconds=1))
        self._now = max(self._now, moment)
        tree = [repo_id, moment, len(self.repos[repo_id].commits) if repo_id in self.repos else 0]
        tree += [[path, file.etag] for path, file in files.items()]
        return hashlib.sha1(json.dumps(tree).encode()).hexdigest(), moment

    def _keep(self, repo: Repo) -> None:
        repo.save()
        self.repos[repo.id] = repo
        self._orders.clear()


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _file(path: str, content: bytes | Path) -> File:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if Path(path).suffix not in LFS_SUFFIXES and size <= LFS_BYTES:
        return File(size, _blob(content if isinstance(content, bytes) else content.read_bytes()))
    if isinstance(content, bytes):
        sha256 = hashlib.sha256(content).hexdigest()
    else:
        with content.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(size, _blob(_pointer(sha256, size)), sha256)


def _write(target: Path, content: bytes | Path, place: Callable[[Path, Path], Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
    else:
        place(content, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
