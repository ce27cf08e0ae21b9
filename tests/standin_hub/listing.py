"""The list of models: filters, orders and pages."""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Collection
from typing import Any

from tests.standin_hub.repos import Repo, Repos

PAGE = 1000
SORTS = ("lastModified", "createdAt", "downloads", "likes", "trendingScore")
BRIEF = (
    "_id", "id", "modelId", "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag",
    "library_name", "createdAt",
)  # fmt: skip
FULL = (*BRIEF, "author", "gated", "disabled", "lastModified", "sha", "siblings")
FACTORS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
Query = dict[str, list[str]]


def page(repos: Repos, query: Query, visible: Callable[[Repo], bool]) -> tuple[bytes, str | None]:
    """One page of the list as JSON, and the cursor of the next page where there is one.

    The cursor is a place in the order, not a number: a repository whose key moves past it between two pages is
    missed, or comes twice.

    Raises:
        ValueError: if a parameter has a value that the Hub refuses.
    """
    order = repos.ordered(_sort(query))
    limit = min(int(_first(query, "limit") or PAGE), PAGE)
    cursor = _first(query, "cursor")
    start = bisect_left(order, decoded(cursor)) if cursor else len(order)
    wanted, fields = matcher(query), fields_of(query)
    picked: list[bytes] = []
    last = None
    for place in reversed(order[:start]):
        repo = repos.repos.get(place[1])
        if repo is None or not visible(repo) or not wanted(repo.item):
            continue
        if len(picked) == limit:
            return b"[" + b",".join(picked) + b"]", encoded(last)
        picked.append(item_json(repo, fields))
        last = place
    return b"[" + b",".join(picked) + b"]", None


def encoded(place: Any) -> str:
    """A place in an order as a cursor."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def decoded(cursor: str) -> tuple[Any, ...]:
    """The place of a cursor."""
    return tuple(json.loads(base64.urlsafe_b64decode(cursor)))


def fields_of(query: Query) -> tuple[str, ...]:
    """The fields of an item that a request asks for."""
    if expand := query.get("expand"):
        return ("id", *expand)
    extra = [name for name in ("config", "cardData") if is_true(query, name)]
    return (*(FULL if is_true(query, "full") else BRIEF), *extra)


def item_json(repo: Repo, fields: tuple[str, ...]) -> bytes:
    """Some fields of a repository's metadata as JSON; those that it lacks are left out."""
    if fields not in repo.encoded:
        repo.encoded[fields] = json.dumps(selected(repo.item, fields)).encode()
    return repo.encoded[fields]


def selected(item: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The fields of an item that are wanted and there."""
    return {name: item[name] for name in fields if name in item}


def is_true(query: Query, name: str) -> bool:
    """Whether a boolean parameter is set."""
    return _first(query, name) in ("true", "True", "1")


def matcher(query: Query) -> Callable[[dict[str, Any]], bool]:
    """Whether an item passes all filters of a request."""
    tests: list[Callable[[dict[str, Any]], bool]] = []
    if tags := {tag for value in query.get("filter", ()) for tag in value.split(",")}:
        tests.append(lambda item: tags <= {*item["tags"], item.get("pipeline_tag"), item.get("library_name")})
    if author := _first(query, "author"):
        tests.append(lambda item: item["author"] == author)
    if search := (_first(query, "search") or "").lower():
        tests.append(lambda item: search in item["id"].lower())
    if task := _first(query, "pipeline_tag"):
        tests.append(lambda item: item.get("pipeline_tag") == task)
    if "gated" in query:
        gated = is_true(query, "gated")
        tests.append(lambda item: bool(item["gated"]) == gated)
    if bounds := _first(query, "num_parameters"):
        least, most = _bounds(bounds)
        tests.append(lambda item: least <= item.get("safetensors", {}).get("total", -1) <= most)
    return lambda item: all(test(item) for test in tests)


def _first(query: Query, name: str) -> str | None:
    return query.get(name, [None])[0]


def _sort(query: Query) -> str:
    sort = _first(query, "sort") or "trendingScore"
    if sort not in SORTS:
        raise ValueError(f"sort must be one of {', '.join(SORTS)}")
    return sort


def _bounds(text: str) -> tuple[float, float]:
    bounds = {"min": 0.0, "max": float("inf")}
    for part in text.split(","):
        matched = re.fullmatch(r"(min|max):([\d.]+)([KMBT]?)", part.strip(), re.IGNORECASE)
        if matched is None:
            raise ValueError(f"num_parameters: {part!r} is not of the form min:6B or max:128B")
        bounds[matched[1].lower()] = float(matched[2]) * FACTORS[matched[3].upper()]
    return bounds["min"], bounds["max"]
