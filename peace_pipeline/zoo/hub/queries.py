"""A model of the Hub that is asked for by name: ``hf://org/name@revision``."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import SKIPPED
from peace_pipeline.zoo import files
from peace_pipeline.zoo.hub.politeness import one_line
from peace_pipeline.zoo.hub.ranges import RemoteBlob
from peace_pipeline.zoo.hub.records import Repository
from peace_pipeline.zoo.hub.repository import Hub
from peace_pipeline.zoo.hub.source import FORMATS, TOKEN, token_in
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError

_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?:#(.+))?")
_NO_BOUND = 2**63
_SHOWN = 4


@dataclass(frozen=True)
class HubModel:
    """A model of the Hub, pinned to a commit."""

    hub: Hub
    record: ModelRecord

    @classmethod
    @contextmanager
    def named(cls, lake: Lake, name: str) -> Iterator[HubModel]:
        """The model ``hf://org/name`` or ``hf://org/name@revision``, with ``#path`` behind it for one network of
        several, while the block runs; what is fetched isn't kept.

        The Hub is the client's (``HF_ENDPOINT``), on behalf of the bearer of ``HF_TOKEN``.

        Raises:
            FetchError: where there is no such model, or it can't be had.
            HubUnavailable: where the Hub doesn't answer.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise FetchError(
                f"{name}: not of the form hf://org/name, hf://org/name@revision or hf://org/name@revision#path",
                passing=False,
            )
        with tempfile.TemporaryDirectory(prefix="peace-", ignore_cleanup_errors=True) as cache:
            hub = Hub(lake, None, token_in(TOKEN), None, Path(cache))
            try:
                info = hub.model(match[1], match[2])
            except HfHubHTTPError as error:
                raise FetchError(one_line(error), passing=True) from error
            if info is None:
                raise FetchError(
                    f"{name}: {hub.endpoint} has no such model or revision, or none that may be seen",
                    passing=False,
                )
            record = _called(match[3], Repository(hub, info).records(FORMATS, _NO_BOUND))
            if record.status == SKIPPED:
                raise FetchError(record.reason or "", passing=record.etag is None)
            yield cls(hub, record)

    @cached_property
    def blobs(self) -> tuple[RemoteBlob, ...]:
        """Its weights, to be read by ranges, where they are safetensors."""
        return self.hub.blobs(self.record)

    def texts(self) -> Path:
        """The folder of its other files, which are downloaded."""
        return self.hub.texts(self.record, "texts")

    def download(self) -> tuple[Path, list[Path]]:
        """The folder of its files, downloaded and verified, and its weights there."""
        folder = self.hub.fetch(self.record)
        return folder, files.weights_of(self.record, folder)


def _called(name: str | None, records: list[ModelRecord]) -> ModelRecord:
    """The record of a repository's own network, or of that which is called so.

    Raises:
        FetchError: where there is none, with what there is.
    """
    found = {record.model_id.partition("#")[2]: record for record in records}
    if (name or "") in found:
        return found[name or ""]
    refused = next((record for record in records if "#" not in record.model_id and record.reason), None)
    if refused and len(records) == 1:
        return refused
    shown = ", ".join(record.model_id for record in records[:_SHOWN])
    what = f"no network {name[:100]!r}" if name else f"{len(records)} networks, to be named one by one"
    raise FetchError(f"{what}: {shown}", passing=False)
