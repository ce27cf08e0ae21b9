"""Asks the Hub for its models, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

from huggingface_hub import ModelInfo
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from peace_pipeline.zoo.hub.politeness import HubUnavailable, session

DETAILS = (
    "sha", "lastModified", "createdAt", "siblings", "safetensors", "gguf", "config", "cardData", "model-index",
    "tags", "gated", "private", "disabled", "baseModels", "library_name", "pipeline_tag",
)  # fmt: skip
"""What is asked of a model that may be new."""

STATE = ("sha", "lastModified", "gated", "private", "disabled")
"""What is asked of every model, to see whether it is as it was."""

LARGEST_PAGE = 1000
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


class Listing:
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

    def pages(self, url: str | None) -> Iterator[Page]:
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
        response = session().get(url, headers=self.headers)
        hf_raise_for_status(response)
        following = response.links.get("next", {}).get("url")
        if following and urlparse(following).netloc != urlparse(self.endpoint).netloc:
            raise HubUnavailable(url, None, f"the next page is said to be at {urlparse(following).netloc}")
        try:
            items = response.json()
            return Page([parsed(item) for item in items], following)
        except (ValueError, TypeError, KeyError) as error:
            raise HubUnavailable(url, None, f"the answer is no list of models ({error})") from None


def parsed(item: dict[str, Any]) -> ModelInfo:
    """A model as the client describes it; what the client can't make sense of is left out.

    Raises:
        KeyError: where the item doesn't even name a model.
    """
    item = {"siblings": None, **item}
    for left_out in ("", *_OPTIONAL):
        item.pop(left_out, None)
        try:
            return ModelInfo(**item)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            continue
    return ModelInfo(id=item["id"], sha=item.get("sha"))
