"""Asks the Hub for its models, page by page."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

from huggingface_hub import ModelInfo
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, validate_repo_id

from peace_pipeline.zoo.hub.politeness import BadAnswer, session

DETAILS = (
    "sha", "lastModified", "createdAt", "siblings", "safetensors", "gguf", "config", "cardData", "model-index",
    "tags", "gated", "private", "disabled", "baseModels", "library_name", "pipeline_tag",
)  # fmt: skip
"""What is asked of a model that may be new."""

STATE = ("sha", "lastModified", "gated", "private", "disabled")
"""What is asked of every model, to see whether it is as it was."""

log = logging.getLogger(__name__)

LARGEST_PAGE = 1000
_SHA = re.compile("[0-9a-f]{40}")
_OPTIONAL = (
    "model-index",
    "cardData",
    "config",
    "safetensors",
    "gguf",
    "createdAt",
    "siblings",
    "lastModified",
)


@dataclass(frozen=True)
class Page:
    """Some models of a listing, and the address of the page after them."""

    models: list[ModelInfo]
    next: str | None


class ModelPages:
    """The models of one endpoint that fit some filters (query parameters of the Hub's listing)."""

    def __init__(self, endpoint: str, token: str | None, filters: dict[str, Any]) -> None:
        self.endpoint, self.filters = endpoint, filters
        self.headers = build_hf_headers(token=token or False)

    def first(self, sort: str, properties: Sequence[str], size: int) -> str:
        """The address of a listing's first page; the newest come first."""
        request = session().build_request(
            "GET",
            f"{self.endpoint}/api/models",
            params={**self.filters, "sort": sort, "limit": size, "expand": list(properties)},
        )
        return str(request.url)

    def following(self, url: str | None) -> Iterator[Page]:
        """The pages from ``url`` on.

        Raises:
            HubUnavailable: where a page can't be had.
            HfHubHTTPError: where the Hub refuses the request.
        """
        while url:
            page = self._page(url)
            yield page
            url = page.next

    def _page(self, url: str) -> Page:
        if not self._is_here(url):
            raise BadAnswer(self.endpoint, f"a page is said to be at {urlparse(url).netloc}")
        response = session().get(url, headers=self.headers)
        hf_raise_for_status(response)
        following = response.links.get("next", {}).get("url")
        try:
            items = list(response.json())
        except (ValueError, TypeError, RecursionError) as error:
            raise BadAnswer(self.endpoint, f"no list of models ({type(error).__name__})") from None
        return Page([info for info in map(parsed, items) if info], following)

    def _is_here(self, url: str) -> bool:
        return urlparse(url)[:2] == urlparse(self.endpoint)[:2]


def parsed(item: Any) -> ModelInfo | None:
    """A model as the client describes it, without what the client can't make sense of.

    ``None`` where it is no model: its id must be one that the Hub gives, and its sha a commit's, as paths and
    records are made of them.
    """
    if not isinstance(item, dict) or not _is_model(item.get("id"), item.get("sha")):
        log.warning("not a model: %.200r", item)
        return None
    item = item | {"siblings": _siblings(item.get("siblings"))}
    for left_out in ("", *_OPTIONAL):
        item.pop(left_out, None)
        try:
            return ModelInfo(**item)
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
            continue
    return ModelInfo(id=item["id"], sha=item.get("sha"))


def _is_model(model_id: object, sha: object) -> bool:
    if not isinstance(model_id, str) or not model_id.isascii():
        return False
    try:
        validate_repo_id(model_id)
    except HFValidationError:
        return False
    return sha is None or bool(_SHA.fullmatch(str(sha)))


def _siblings(items: object) -> list[dict[str, Any]] | None:
    """The files that have a name which can be stored."""
    if not isinstance(items, list):
        return None
    names = [item.get("rfilename") for item in items if isinstance(item, dict)]
    return [{"rfilename": name} for name in names if isinstance(name, str) and name.isprintable()]
