"""Model cards and configs: what the author wrote, read leniently; malformed metadata never fails a record."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peace_pipeline.zoo.record import ModelRecord

if TYPE_CHECKING:
    from huggingface_hub import CardData

CONFIG, CARD, TOKENIZER = "config.json", "README.md", "tokenizer.json"
MAX_TEXT_BYTES = 4 << 20
MAX_TOKENIZER_BYTES = 64 << 20
"""The largest that are in use have half as many."""
MAX_FRONT_MATTER = 512 << 10
_MAX_DEPTH = 32
_MAX_ITEMS, _MAX_SCALAR = 10_000, 64 << 10


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json as a dictionary; empty where there is none that can be read."""
    try:
        document = json.loads(_read_text(folder / CONFIG))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def describe(folder: Path) -> dict[str, Any]:
    """The fields of a :class:`ModelRecord` that a folder's config.json and README.md give."""
    config = read_config(folder)
    fields: dict[str, Any] = {}
    if architecture := as_text(config.get("model_type")):
        fields["architecture"] = architecture
    try:
        text = _read_text(folder / CARD)
    except (OSError, ValueError):
        return fields
    return fields | {"card": text} | front_matter(text)


def _read_text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"{path} is no file of at most {MAX_TEXT_BYTES} bytes")
    return path.read_text(encoding="utf-8", errors="replace")


def front_matter(text: str) -> dict[str, Any]:
    """The fields that the YAML at the top of a card gives; none where it is malformed, or not of a card's size."""
    from huggingface_hub import ModelCardData

    metadata, _ = parted(text)
    if metadata is None:
        return {}
    try:
        return card_fields(ModelCardData(**metadata, ignore_metadata_errors=True))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}


def parted(text: str) -> tuple[Any, str]:
    """What the YAML at the top of a card says, and the text below it.

    The YAML is ``None`` where there is none, or where it is malformed or not of a card's size.
    """
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    block = REGEX_YAML_BLOCK.match(text)
    if block is None:
        return None, text
    below = text[block.end() :]
    try:
        return _load(block[2]) if len(block[2]) <= MAX_FRONT_MATTER else None, below
    except (ValueError, RecursionError, yaml.YAMLError):
        return None, below


def _load(text: str) -> Any:
    """What YAML says.

    Raises:
        ValueError: where it has aliases, by which few bytes say much, or is deeper or longer than metadata is: what
            reads lists, keys and numbers takes more than a proportionate time for long ones.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lengths = [0]
    for event in yaml.parse(text, Loader=loader):
        lengths[-1] += isinstance(event, yaml.NodeEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            lengths.append(0)
        elif isinstance(event, yaml.CollectionEndEvent):
            lengths.pop()
        is_long = lengths[-1] > _MAX_ITEMS or len(getattr(event, "value", "")) > _MAX_SCALAR
        if isinstance(event, yaml.AliasEvent) or len(lengths) > _MAX_DEPTH or is_long:
            raise ValueError("this YAML is no metadata of a card")
    return yaml.load(text, Loader=loader)


def card_fields(data: CardData) -> dict[str, Any]:
    """The fields of a :class:`ModelRecord` that card metadata gives."""
    fields = {
        "library": as_text(data.get("library_name")),
        "license": as_text(data.get("license")),
        "task": as_text(data.get("pipeline_tag")),
        "datasets": texts(data.get("datasets")),
        "tags": texts(data.get("tags")),
        "base_model": next(iter(texts(data.get("base_model"))), None),
        "base_model_relation": as_text(data.get("base_model_relation")),
        "hyperparameters": _hyperparameters(data.get("hyperparameters")),
        "seed": _seed(data.get("seed")),
        "metrics": _metrics(data.get("eval_results")),
    }
    return {name: value for name, value in fields.items() if value is not None}


def as_text(value: object) -> str | None:
    """A string that can be stored: YAML and JSON escapes can spell characters that UTF-8 has no bytes for."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in map(as_text, values) if text is not None)


def _seed(value: object) -> int | None:
    return value if type(value) is int and abs(value) < 2**63 else None


def _hyperparameters(value: object) -> dict[str, str]:
    """Scalars and lists of scalars as text; deeper values are left out."""
    items = value.items() if isinstance(value, dict) else ()
    return {_written(name): _written(item) for name, item in items if _is_flat(item)}


def _is_flat(value: object) -> bool:
    return not any(isinstance(item, dict | list) for item in (value if isinstance(value, list) else [value]))


def _written(value: object) -> str:
    return as_text(str(value)) or ""


def _metrics(results: Any) -> dict[str, float]:
    metrics = {}
    for result in results if isinstance(results, list) else ():
        try:
            value = float(result.metric_value)
        except (AttributeError, OverflowError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            metrics[_written(result.metric_type)] = value
    return metrics


def enriched(record: ModelRecord, folder: Path) -> ModelRecord:
    """``record`` with what the folder's card and config say."""
    return replace(record, **describe(folder))
