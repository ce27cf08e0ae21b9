"""One model repository at a time: its state, its record, its files."""

from __future__ import annotations

import hashlib
import re
import shutil
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from huggingface_hub import (
    HfApi,
    ModelInfo,
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from peace_pipeline.lake import Lake
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import MAX_TEXT_BYTES
from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.hub.pages import DETAILS, parsed
from peace_pipeline.zoo.hub.politeness import BadAnswer, HubUnavailable, Interrupted, httpx, session
from peace_pipeline.zoo.hub.ranges import RemoteBlob
from peace_pipeline.zoo.hub.rate import ANONYMOUS, SIGNED_IN, RateLimit
from peace_pipeline.zoo.record import ModelFile, ModelRecord
from peace_pipeline.zoo.source import ConfigError, FetchError

_SHARE = 0.9
_LARGEST = 2**63
_SHA256 = re.compile("[0-9a-f]{64}")
_REFUSALS: dict[type[Exception], str] = {
    GatedRepoError: "gated: this token has no access",
    DisabledRepoError: "disabled by the Hub",
    RepositoryNotFoundError: "no longer there, or private",
    RevisionNotFoundError: "its revision is gone",
    EntryNotFoundError: "a file is gone from its revision",
    FileMetadataError: "a file lacks its metadata",
}

REFUSED = tuple(_REFUSALS)


class Hub:
    """The Hub at ``endpoint`` (by default the client's), asked on behalf of the bearer of ``token``.

    ``requests`` bounds all requests in five minutes; by default they stay a tenth below the Hub's own limits.
    Downloads go to ``cache``, by default one under the lake.
    """

    def __init__(
        self,
        lake: Lake,
        endpoint: str | None,
        token: str | None,
        requests: int | None,
        cache: Path | None = None,
    ) -> None:
        self.endpoint = politeness.normal(endpoint or constants.ENDPOINT)
        address = urlparse(self.endpoint)
        if (
            address.scheme not in ("http", "https")
            or "@" in address.netloc
            or address.query
            or address.fragment
        ):
            raise ConfigError("the Hub's endpoint must be a plain http(s) address without credentials")
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise ConfigError("the Hub's token holds characters that no token has")
        self.token = token
        root = lake.root / "zoo" / "huggingface"
        self.cache = cache or root / "cache"
        name = re.sub(r"[^\w.-]", "_", address.netloc)
        politeness.limit(self.endpoint, _limits(root / name, token, requests))
        self.api = HfApi(endpoint=self.endpoint, token=token or False)
        self.headers = build_hf_headers(token=token or False)

    @property
    def origin(self) -> str:
        """What the ``uri`` of every record of this Hub begins with."""
        return f"{self.endpoint}/"

    def model(self, model_id: str, revision: str | None = None) -> ModelInfo | None:
        """What the Hub says of a model; ``None`` where it has none of this name, or none that may be seen.

        Raises:
            HubUnavailable: where the Hub doesn't answer.
            HfHubHTTPError: where it refuses to.
        """
        path = f"{self.endpoint}/api/models/{model_id}" + (
            f"/revision/{quote(revision, safe='')}" if revision else ""
        )
        response = session().get(path, params={"expand": list(DETAILS)}, headers=self.headers)
        try:
            hf_raise_for_status(response)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        except DisabledRepoError:
            return ModelInfo(id=model_id, disabled=True)
        try:
            return parsed(response.json())
        except (ValueError, RecursionError) as error:
            raise BadAnswer(path, f"no description of a model ({type(error).__name__})") from None

    def entry(self, info: ModelInfo, name: str, kind: str) -> ModelFile:
        """A file of a repository with its size and digest, which are asked of the resolver."""
        url = hf_hub_url(info.id, name, revision=info.sha, endpoint=self.endpoint)
        metadata = get_hf_file_metadata(url, token=self.token or False, endpoint=self.endpoint)
        digest = metadata.etag if _SHA256.fullmatch(metadata.etag or "") else None
        size = metadata.size if 0 <= (metadata.size or 0) < _LARGEST else None
        return ModelFile(name, size, digest, kind)

    def text(self, info: ModelInfo, name: str) -> str | None:
        """A text file of a repository; ``None`` where there is none or it is longer than texts are.

        Raises:
            BadAnswer: where the answer makes no sense.
        """
        return self._text(hf_hub_url(info.id, name, revision=info.sha, endpoint=self.endpoint))

    @politeness.resumed
    def _text(self, url: str) -> str | None:
        """A text file; ``None`` where there is none or it is longer than texts are."""
        content = bytearray()
        headers = self.headers | {"Accept-Encoding": "identity"}
        try:
            with session().stream("GET", url, headers=headers) as response:
                if response.status_code != HTTPStatus.OK:
                    return None
                for block in response.iter_bytes():
                    content += block
                    if len(content) > MAX_TEXT_BYTES:
                        return None
        except httpx.TransportError as error:
            raise Interrupted(str(error)) from error
        except httpx.RequestError as error:
            raise BadAnswer(url, politeness.one_line(error)) from error
        return content.decode("utf-8", errors="replace")

    def fetch(self, record: ModelRecord) -> Path:
        """The folder of the record's files, downloaded at its revision and verified by their sha256.

        Raises:
            FetchError: where they can't be had.
            OSError: where the disk is full.
        """
        folder = Path()
        for file in record.files:
            path = self._download(record, file)
            folder = path.parents[file.path.count("/")]
        return folder

    def blobs(self, record: ModelRecord) -> tuple[RemoteBlob, ...]:
        """The record's weights, to be read by ranges; none unless all are safetensors of known size."""
        weights = [file for file in record.files if file.format != "text"]
        if any(file.format != "safetensors" or file.size is None for file in weights):
            return ()
        repository = repository_of(record.model_id)
        return tuple(
            self.blob(repository, record.revision, _path(record, file.path), file) for file in weights
        )

    def blob(self, repository: str, revision: str, path: str, file: ModelFile) -> RemoteBlob:
        """A file at ``path``, to be read by ranges, under the name that ``file`` has."""
        url = hf_hub_url(repository, path, revision=revision, endpoint=self.endpoint)
        return RemoteBlob(file.path, url, file.size or 0, self.headers)

    def texts(self, record: ModelRecord, name: str) -> Path:
        """A folder ``name`` among the record's downloads, of its files beside the weights.

        Raises:
            FetchError: where they can't be had.
        """
        folder = self._copies(record) / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in record.files:
            if file.format == "text":
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._download(record, file), folder / file.path)
        return folder

    def _download(self, record: ModelRecord, file: ModelFile) -> Path:
        for _ in range(2):
            try:
                self._check_size(record, file)
                path = self._through_cache(record, file.path)
            except REFUSED as error:
                raise FetchError(f"{file.path}: {reason_of(error)}", passing=True) from error
            except HfHubHTTPError as error:
                status = error.response.status_code
                raise FetchError(f"{file.path}: the Hub refused ({status})", passing=True) from error
            except (HubUnavailable, Interrupted) as error:
                raise FetchError(f"{file.path}: {error}", passing=True) from error
            except ValueError as error:  # the client's limit on what it takes over HTTP
                raise FetchError(f"{file.path}: {politeness.one_line(error)}", passing=False) from error
            if files.matches(path, file):
                return path
            path.resolve().unlink()
        raise FetchError(f"{file.path}: its sha256 is not the Hub's, in two downloads", passing=True)

    def _check_size(self, record: ModelRecord, file: ModelFile) -> None:
        """Refuse a text, of which the crawl asked no size, that is longer than texts are."""
        repository, path, revision = repository_of(record.model_id), _path(record, file.path), record.revision
        cached = try_to_load_from_cache(repository, path, self._copies(record), revision=revision)
        if file.size is None and file.format == "text" and cached is None:
            url = hf_hub_url(repository, path, revision=revision, endpoint=self.endpoint)
            metadata = get_hf_file_metadata(url, token=self.token or False, endpoint=self.endpoint)
            if (metadata.size or 0) > MAX_TEXT_BYTES:
                raise FetchError(f"{file.path}: larger than {MAX_TEXT_BYTES:,} bytes", passing=False)

    @politeness.resumed
    def _through_cache(self, record: ModelRecord, name: str) -> Path:
        try:
            path = self.api.hf_hub_download(
                repository_of(record.model_id),
                _path(record, name),
                revision=record.revision,
                cache_dir=self._copies(record),
            )
        except LocalEntryNotFoundError as error:
            raise error.__cause__ or error from None  # why the Hub did not give it
        except (HfHubHTTPError, FileMetadataError):
            raise
        except httpx.TransportError as error:
            raise Interrupted(str(error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise Interrupted(str(error)) from error  # the client's word for a download of another length
        return Path(path)

    def release(self, record: ModelRecord) -> None:
        """Delete the downloads of a model at its revision."""
        shutil.rmtree(self._copies(record), ignore_errors=True)

    def _copies(self, record: ModelRecord) -> Path:
        """A cache for one revision of one model alone, so that giving it up takes nothing from another."""
        repository, _, name = record.model_id.partition("#")
        folder = repo_folder_name(repo_id=repository, repo_type="model")
        apart = f"#{hashlib.sha256(name.encode()).hexdigest()[:16]}" if name else ""
        return self.cache / f"{folder}{apart}" / record.revision


def _limits(path: Path, token: str | None, requests: int | None) -> politeness.Limits:
    if requests:
        everything = RateLimit(path.with_name(f"{path.name}.rate"), requests)
        return politeness.Limits(everything, everything)
    api, resolver = (round(_SHARE * allowed) for allowed in (SIGNED_IN if token else ANONYMOUS))
    return politeness.Limits(
        RateLimit(path.with_name(f"{path.name}.api.rate"), api),
        RateLimit(path.with_name(f"{path.name}.resolver.rate"), resolver),
    )


def repository_of(model_id: str) -> str:
    """The repository that holds a model: ``org/name`` of ``org/name#path``."""
    return model_id.partition("#")[0]


def _path(record: ModelRecord, name: str) -> str:
    """The path in its repository of one of a record's files."""
    folder = unquote(record.uri.partition(f"/tree/{record.revision}/")[2])
    return f"{folder}/{name}" if folder else name


def reason_of(error: Exception) -> str:
    """Why the Hub refused, in words."""
    return next(reason for kind, reason in _REFUSALS.items() if isinstance(error, kind))
