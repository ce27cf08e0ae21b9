"""The records of a repository's models, with what has to be asked for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import quote

from huggingface_hub import ModelInfo
from huggingface_hub.errors import HfHubHTTPError

from peace_pipeline.zoo.card import CARD, CONFIG, MAX_TOKENIZER_BYTES, TOKENIZER, front_matter
from peace_pipeline.zoo.formats import TEXT, format_of
from peace_pipeline.zoo.hub.describing import describe, models_of, refusal
from peace_pipeline.zoo.hub.politeness import BadAnswer, HubUnavailable, Interrupted
from peace_pipeline.zoo.hub.repository import REFUSED, Hub, reason_of
from peace_pipeline.zoo.layouts import FolderModel, within
from peace_pipeline.zoo.record import ModelFile, ModelRecord
from peace_pipeline.zoo.source import FetchError


class Repository:
    """A repository at the commit that the Hub lists; what is asked of its files is asked once."""

    def __init__(self, hub: Hub, info: ModelInfo) -> None:
        self.hub, self.info = hub, info
        self.names = {sibling.rfilename for sibling in info.siblings or ()}
        self._entries: dict[str, ModelFile] = {}

    def records(self, formats: Sequence[str], max_bytes: int) -> list[ModelRecord]:
        """The records of its models, pinned to its sha: ``org/name`` is its own network or the whole of its parts,
        ``org/name#path`` any other. A model that can't be taken is skipped with the reason.

        One for which the Hub gave no answer has no ``etag``, so that its repository is looked at again.

        Raises:
            HubUnavailable: where the Hub can't be reached at all.
        """
        info, hub = self.info, self.hub
        revision = info.sha or "0" * 40
        uri = f"{hub.endpoint}/{info.id}/tree/{revision}"
        record = ModelRecord("huggingface", info.id, revision, uri, revision, **describe(info))
        if reason := refusal(info, token=bool(hub.token)):
            return [record.skipped(reason)]
        if info.sha is None:
            return [record.skipped("the Hub names no commit")]
        found: list[FolderModel] = []

        def models() -> ModelRecord:
            found.extend(models_of(info, formats, self))
            return record

        failed = _answered(record, models)
        return [self._taken(record, model, max_bytes) for model in found] or [failed]

    def _taken(self, repository: ModelRecord, model: FolderModel, max_bytes: int) -> ModelRecord:
        folder = _folder(model)
        record = _named(repository, model.name, folder)
        variants = tuple(f"variant:{name.removeprefix(f'{folder}/')}" for name in model.variants)
        if model.reason:
            return replace(record, tags=(*record.tags, *variants)).skipped(model.reason)

        def taken() -> ModelRecord:
            entries = tuple(
                replace(entry, path=entry.path.removeprefix(f"{folder}/"))
                for entry in self._described(model, folder)
            )
            size = sum(file.size or 0 for file in entries if file.format != TEXT)
            if size > max_bytes:
                return replace(record, files=entries).skipped(
                    f"oversized: {size:,} bytes of weights, at most {max_bytes:,} are taken"
                )
            told = _named(replace(repository, files=entries, **self._card), model.name, folder)
            return replace(told, tags=(*told.tags, *variants))

        return _answered(record, taken)

    def _described(self, model: FolderModel, folder: str) -> Iterator[ModelFile]:
        """A model's files; sizes and digests of weights and tokenizer are asked of the resolver."""
        yield from (self._entry(name, format_of(name)) for name in model.files)
        for place in (folder, *model.parts):
            if (config := within(place, CONFIG)) in self.names:
                yield ModelFile(config, None, None, TEXT)
        if (tokenizer := within(folder, TOKENIZER)) in self.names:
            with suppress(*REFUSED, HfHubHTTPError):  # it is heard by ids then
                entry = self._entry(tokenizer, TEXT)
                yield from [entry] if 0 < (entry.size or 0) <= MAX_TOKENIZER_BYTES else []

    def _entry(self, name: str, kind: str) -> ModelFile:
        if name not in self._entries:
            self._entries[name] = self.hub.entry(self.info, name, kind)
        return self._entries[name]

    def head(self, path: str, size: int) -> tuple[bytes, int]:
        """See :class:`Look`."""
        entry = self._entry(path, format_of(path))
        try:
            blob = self.hub.blob(self.info.id, self.info.sha or "", path, entry)
            return blob.read(0, min(size, blob.size)).tobytes(), blob.size
        except FetchError as error:
            if error.passing:
                raise
            return b"", 0

    def document(self, path: str) -> object:
        """See :class:`Look`."""
        try:
            return json.loads(self.hub.text(self.info, path) or "null")
        except (ValueError, RecursionError):
            return None

    @cached_property
    def _card(self) -> dict[str, Any]:
        """The card's text and what its front matter says that the listing did not."""
        if CARD not in self.names:
            return {}
        try:
            text = self.hub.text(self.info, CARD)
        except (BadAnswer, Interrupted):
            text = None
        return {} if text is None else {**front_matter(text), **describe(self.info), "card": text}


def _folder(model: FolderModel) -> str:
    """The folder of its repository that describes a model: its own, or that in which its files lie beside others."""
    is_own = model.files and all(name.startswith(f"{model.name}/") for name in model.files)
    return model.name if is_own or not model.name else model.name.rpartition("/")[0]


def _named(repository: ModelRecord, name: str, folder: str) -> ModelRecord:
    """The record of a network called so; of its values and, in a folder of its own, of its kind a listing says
    nothing."""
    if not name:
        return repository
    return replace(
        repository,
        model_id=f"{repository.model_id}#{name}",
        uri=f"{repository.uri}/{quote(folder)}" if folder else repository.uri,
        architecture=None if folder else repository.architecture,
        parameters=None,
    )


def _answered(record: ModelRecord, asked: Callable[[], ModelRecord]) -> ModelRecord:
    """What asking the Hub comes to; ``record``, skipped, where it refuses or fails.

    Raises:
        HubUnavailable: where it can't be reached at all.
    """
    try:
        return asked()
    except REFUSED as error:
        return replace(record, etag=None).skipped(reason_of(error))
    except HfHubHTTPError as error:
        return replace(record, etag=None).skipped(f"the Hub refused ({error.response.status_code})")
    except HubUnavailable as error:
        if error.outage:
            raise
        return replace(record, etag=None).skipped(str(error))
    except (FetchError, Interrupted) as error:
        return replace(record, etag=None).skipped(str(error))
    except ValueError as error:
        return record.skipped(str(error))
