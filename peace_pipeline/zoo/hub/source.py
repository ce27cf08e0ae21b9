"""The ``huggingface`` source: models of the Hugging Face Hub, or of a server that speaks its language."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peace_pipeline.lake import Lake
from peace_pipeline.zoo import formats as weight_formats
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import ConfigError, Found, Progress, Ranged, register

if TYPE_CHECKING:
    from peace_pipeline.zoo.hub.repository import Hub

FORMATS = (
    "safetensors",
    "pytorch",
    "torchscript",
    "onnx",
    "keras",
    "hdf5",
    "gguf",
    "flax",
    "npz",
    "fasttext",
    "stable_baselines3",
)
"""Weight formats that are taken where nothing else is said, the preferred first."""

TOKEN = "HF_TOKEN"


@register("huggingface")
class HuggingfaceSource:
    """The models of a Hub that fit the filters; model ids are the Hub's own, ``org/name``, with ``#path`` behind them
    for what isn't a repository's own network (or the whole of its parts).

    A crawl walks from the newest model down to where the last one began, then lists all ids to see what else
    changed and what is gone. ``token_env`` names the environment variable that holds the token; ``max_bytes``
    bounds the weights of a model; ``bytes_budget`` is how much of them is read, by ranges, where they are safetensors
    and larger than that; ``formats`` are the weight formats that are taken, the preferred first;
    ``requests_per_5_minutes`` bounds all requests together (else they stay a tenth below the Hub's own limits).
    """

    source, prefix = "huggingface", ""

    def __init__(
        self,
        lake: Lake,
        base: Path,
        *,
        endpoint: str | None = None,
        task: str | None = None,
        library: str | None = None,
        author: str | None = None,
        search: str | None = None,
        tags: Sequence[str] = (),
        license: str | None = None,
        min_parameters: int | None = None,
        max_parameters: int | None = None,
        max_bytes: int = 20_000_000_000,
        bytes_budget: int | None = None,
        formats: Sequence[str] = FORMATS,
        page_size: int = 500,
        parallel: int = 4,
        requests_per_5_minutes: int | None = None,
        token_env: str = TOKEN,
    ) -> None:
        texts = {"endpoint": endpoint, "task": task, "library": library, "author": author, "search": search}
        for name, text in (texts | {"license": license, "token_env": token_env}).items():
            if not isinstance(text, str | None):
                raise ConfigError(f"huggingface source: {name} must be a text, not {text!r}")
        for name, number in {
            "page_size": page_size,
            "parallel": parallel,
            "max_bytes": max_bytes,
            "bytes_budget": 1 if bytes_budget is None else bytes_budget,
            "min_parameters": 1 if min_parameters is None else min_parameters,
            "max_parameters": 1 if max_parameters is None else max_parameters,
            "requests_per_5_minutes": 1 if requests_per_5_minutes is None else requests_per_5_minutes,
        }.items():
            if type(number) is not int or number < 1:
                raise ConfigError(f"huggingface source: {name} must be a positive integer, not {number!r}")
        if min_parameters and max_parameters and min_parameters > max_parameters:
            raise ConfigError("huggingface source: min_parameters is more than max_parameters")
        if isinstance(formats, str) or not set(formats) <= set(weight_formats.FORMATS.values()):
            raise ConfigError(
                f"huggingface source: formats must be a list of weight formats, not {formats!r}"
            )
        self.lake, self.endpoint, self.token_env = lake, endpoint, token_env
        self.max_bytes, self.bytes_budget, self.formats = max_bytes, bytes_budget, tuple(formats)
        self.page_size, self.parallel, self.rate = page_size, parallel, requests_per_5_minutes
        sizes = [
            f"{name}:{size}" for name, size in (("min", min_parameters), ("max", max_parameters)) if size
        ]
        marks = [library, *([tags] if isinstance(tags, str) else tags), license and f"license:{license}"]
        filters = {
            "pipeline_tag": task,
            "author": author,
            "search": search,
            "filter": [mark for mark in marks if mark],
            "num_parameters": ",".join(sizes),
        }
        self.filters: dict[str, Any] = {name: value for name, value in filters.items() if value}

    def crawl(self, known: Known, progress: Progress | None = None) -> Iterator[Found]:
        """Yield what is new, changed, newly refused or gone.

        Raises:
            SourceUnavailable: where the Hub doesn't answer; the next crawl goes on from there.
        """
        from peace_pipeline.zoo.hub.cursor import Cursor
        from peace_pipeline.zoo.hub.walk import Selection, Walk

        selection = Selection(self.filters, self.formats, self.max_bytes, self.page_size, self.parallel)
        yield from Walk(self.hub, selection, Cursor(self.folder), known, progress).run()

    def fetch(self, record: ModelRecord) -> Path:
        """Download the record's files at its revision through the client's cache, verified by their sha256."""
        return self.hub.fetch(record)

    def ranged(self, record: ModelRecord) -> Ranged | None:
        """The record's weights, where they are safetensors and larger than the budget."""
        if self.bytes_budget is None:
            return None
        blobs = self.hub.blobs(record)
        if sum(blob.size for blob in blobs) <= self.bytes_budget:
            return None
        return Ranged(blobs, self.hub.texts(record, f"budget-{self.bytes_budget}"), self.bytes_budget)

    def release(self, records: Iterable[ModelRecord]) -> None:
        """Delete the downloads."""
        for record in records:
            self.hub.release(record)

    @cached_property
    def hub(self) -> Hub:
        """The Hub as this source may use it."""
        from peace_pipeline.zoo.hub.repository import Hub

        return Hub(self.lake, self.endpoint, token_in(self.token_env), self.rate)

    @property
    def origin(self) -> str:
        return self.hub.origin

    @property
    def folder(self) -> Path:
        """Where this source notes how far it came: another one for other filters."""
        settings = json.dumps([self.origin, self.filters], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
        return self.lake.root / "zoo" / "huggingface" / "sources" / digest


def token_in(variable: str) -> str | None:
    """The token that an environment variable holds, without the newline that mounted secrets end with."""
    return os.environ.get(variable, "").strip() or None
