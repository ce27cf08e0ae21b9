"""One question, one answer: the Hub's routes as functions of a request, without sockets or faults."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.standin_hub import listing
from tests.standin_hub.describing import header_of, identifier
from tests.standin_hub.repos import Commit, File, Repo, Repos

SAFE = {"status": "safe", "avScan": {"virusFound": False, "virusNames": None}, "pickleImportScan": None}
DISABLED = "Access to this resource is disabled."


@dataclass(frozen=True)
class Request:
    """What was asked; ``opens`` are the repositories that its token opens, None where it sends no token."""

    method: str
    path: str
    parts: list[str]
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    span: str | None
    opens: Collection[str] | None


@dataclass(frozen=True)
class Span:
    """A stretch of a file."""

    path: Path
    start: int
    size: int
    is_weights: bool = False

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


@dataclass(frozen=True)
class Answer:
    """What to send back."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Span = b""


class Refusal(Exception):
    """An error that the client knows by its code or message."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        codes = {"X-Error-Code": code} if code else {}
        body = json.dumps({"error": message}).encode()
        self.answer = Answer(status, {**JSON, **codes, "X-Error-Message": message, **named}, body)


JSON = {"Content-Type": "application/json; charset=utf-8"}


def answer(repos: Repos, endpoint: str, request: Request) -> Answer:
    """Serve a request."""
    try:
        return _route(repos, endpoint, request)
    except Refusal as refusal:
        return refusal.answer


def _route(repos: Repos, endpoint: str, request: Request) -> Answer:
    match request.parts:
        case ["api", "models"]:
            return _list(repos, endpoint, request)
        case ["api", "models", owner, name, *rest]:
            return _about(_reachable(repos, f"{owner}/{name}", request), rest, endpoint, request)
        case [owner, name, "resolve", revision, *path] if path:
            repo = _reachable(repos, f"{owner}/{name}", request)
            found = _resolve(repo, revision, "/".join(path), request)
            if path == ["config.json"]:
                repos.count_download(repo.id)
            return found
    raise Refusal(404, "", "Sorry, we can't find the page you are looking for.")


def _about(repo: Repo, rest: list[str], endpoint: str, request: Request) -> Answer:
    match rest:
        case []:
            return _info(repo, repo.head, request)
        case ["revision", revision]:
            return _info(repo, _commit(repo, revision), request)
        case ["tree", revision, *folder]:
            return _tree(_commit(repo, revision), "/".join(folder), endpoint, request)
        case ["paths-info", revision] if request.method == "POST":
            return _paths_info(_commit(repo, revision), request)
        case ["refs"]:
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.sha}
            return _json({"branches": [branch], "tags": [], "converts": [], "pullRequests": []})
        case ["safetensors-metadata", *index]:
            return _headers(repo, "/".join(index), request)
    raise Refusal(404, "", "Sorry, we can't find the page you are looking for.")


def _reachable(repos: Repos, repo_id: str, request: Request) -> Repo:
    """The repository, unless it is missing, disabled, or private without a token that opens it."""
    repo = repos.repos.get(repo_id)
    if repo is None or not _may_see(repo, request):
        raise Refusal(401 if request.opens is None else 404, "RepoNotFound", "Repository not found")
    if repo.item["disabled"]:
        raise Refusal(403, "", DISABLED)
    return repo


def _may_see(repo: Repo, request: Request) -> bool:
    return not repo.item["private"] or repo.id in (request.opens or ())


def _insist_on_access(repo: Repo, request: Request) -> None:
    if repo.item["gated"] and repo.id not in (request.opens or ()):
        message = f"Access to model {repo.id} is restricted. You must have access to it and be authenticated."
        raise Refusal(401 if request.opens is None else 403, "GatedRepo", message)


def _commit(repo: Repo, revision: str) -> Commit:
    if (commit := repo.commit(revision)) is None:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def _missing(commit: Commit) -> Refusal:
    return Refusal(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.sha)


def _json(value: Any, **headers: str) -> Answer:
    return Answer(headers=JSON | headers, body=json.dumps(value).encode())


def _list(repos: Repos, endpoint: str, request: Request) -> Answer:
    try:
        body, cursor = listing.page(repos, request.query, lambda repo: _may_see(repo, request))
    except ValueError as error:
        raise Refusal(400, "", str(error)) from error
    return Answer(headers=JSON | _link(endpoint, request, cursor), body=body)


def _link(endpoint: str, request: Request, cursor: str | None) -> dict[str, str]:
    if cursor is None:
        return {}
    query = urlencode(request.query | {"cursor": [cursor]}, doseq=True)
    return {"Link": f'<{endpoint}{request.path.partition("?")[0]}?{query}>; rel="next"'}


def _info(repo: Repo, commit: Commit, request: Request) -> Answer:
    item = repo.item_at(commit)
    if "expand" in request.query:
        return _json(listing.selected(item, listing.fields_of(request.query)))
    if listing.is_true(request.query, "blobs"):
        item["siblings"] = [_sibling(path, file) for path, file in commit.files.items()]
    if listing.is_true(request.query, "securityStatus"):
        item["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return _json(item)


def _sibling(path: str, file: File) -> dict[str, Any]:
    sibling = {"rfilename": path, "size": file.size, "blobId": file.oid}
    if file.sha256:
        sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return sibling


def _tree(commit: Commit, folder: str, endpoint: str, request: Request) -> Answer:
    inside = f"{folder}/" if folder else ""
    names = [path for path in _names(commit) if path.startswith(inside)]
    if not names:
        raise _missing(commit)
    if not listing.is_true(request.query, "recursive"):
        names = [path for path in names if "/" not in path.removeprefix(inside)]
    if cursor := request.query.get("cursor"):
        names = [path for path in names if [path] > list(listing.decoded(cursor[0]))]
    expand = listing.is_true(request.query, "expand")
    entries = [_entry(commit, path, expand) for path in names[: listing.PAGE]]
    following = listing.encoded([entries[-1]["path"]]) if len(names) > listing.PAGE else None
    return _json(entries, **_link(endpoint, request, following))


def _paths_info(commit: Commit, request: Request) -> Answer:
    wanted = {path.strip("/") for path in request.form.get("paths", ())}
    expand = listing.is_true(request.form, "expand")
    return _json([_entry(commit, path, expand) for path in _names(commit) if path in wanted])


def _names(commit: Commit) -> list[str]:
    """The paths of all files and folders, in order."""
    folders = {str(parent) for path in commit.files for parent in Path(path).parents}
    return sorted({*commit.files, *folders} - {"."})


def _entry(commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    last = {"lastCommit": {"id": commit.sha, "title": "Upload", "date": commit.at}} if expand else {}
    file = commit.files.get(path)
    if file is None:
        return {"type": "directory", "oid": identifier(path), "size": 0, "path": path, **last}
    entry = {"type": "file", "oid": file.oid, "size": file.size, "path": path, **last}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return entry | ({"securityFileStatus": SAFE} if expand else {})


def _headers(repo: Repo, index: str, request: Request) -> Answer:
    """The headers of all shards that an index names."""
    _insist_on_access(repo, request)
    if index not in repo.head.files:
        raise _missing(repo.head)
    content = json.loads(repo.path(repo.head, index).read_bytes())
    shards: Iterable[str] = sorted(set(content["weight_map"].values()))
    headers = {shard: header_of(repo.path(repo.head, shard)) for shard in shards}
    return _json({"index": {"metadata": content.get("metadata", {})}, "headers": headers})


def _resolve(repo: Repo, revision: str, path: str, request: Request) -> Answer:
    _insist_on_access(repo, request)
    commit = _commit(repo, revision)
    file = commit.files.get(path)
    if file is None:
        raise _missing(commit)
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
    }
    if file.sha256:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    start, stop = _range(request.span, file.size)
    status = 200
    if request.span and request.method == "GET":
        status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{file.size}"
    elif request.method == "HEAD":
        start, stop = 0, file.size
    return Answer(status, headers, Span(repo.path(commit, path), start, stop - start, bool(file.sha256)))


def _range(span: str | None, size: int) -> tuple[int, int]:
    """The first byte of a range, and the one behind its last."""
    if not span:
        return 0, size
    matched = re.fullmatch(r"bytes=(\d*)-(\d*)", span)
    first, last = matched.groups() if matched else ("", "")
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    else:
        start, stop = size - int(last or 0), size
    if start >= stop:
        raise Refusal(416, "", "Range not satisfiable", Content_Range=f"bytes */{size}")
    return max(start, 0), stop
