"""What the Hub reads out of a repository's files: card, config, parameter counts and tags."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

FRONT_MATTER = re.compile(r"^\s*---[\r\n]+(.*?)[\r\n]+---(?:\r\n|\r|\n|$)", re.DOTALL)
FORMATS = {
    ".safetensors": "safetensors",
    ".bin": "pytorch",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".onnx": "onnx",
    ".h5": "tf",
    ".keras": "keras",
    ".msgpack": "jax",
    ".gguf": "gguf",
}
"""The suffix of a weight file → the tag that it earns."""


def describe(folder: Path, paths: Collection[str]) -> dict[str, Any]:
    """The fields of a model's metadata that its files give."""
    card = _card(folder / "README.md")
    config = _config(folder / "config.json")
    shards = ["model.safetensors"] if "model.safetensors" in paths else sorted(_root_safetensors(paths))
    fields = {
        "cardData": card,
        "config": _summary(config),
        "safetensors": _parameters([folder / shard for shard in shards]),
        "model-index": card and card.get("model-index"),
        "baseModels": _base_models(card or {}, config or {}, paths),
        "pipeline_tag": card and card.get("pipeline_tag"),
        "library_name": _library(card or {}, config or {}),
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    return fields | {"tags": _tags(card or {}, config or {}, fields, paths)}


def header_of(path: Path) -> dict[str, Any] | None:
    """The header of a safetensors file; none where it has no sound one."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size < 25 << 20 else None
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) else None


def texts(value: object) -> list[str]:
    """The strings of a card's field, which may be one string or a list."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _card(path: Path) -> dict[str, Any] | None:
    try:
        block = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        data = yaml.load(block[1], yaml.CSafeLoader) if block else None
        data = json.loads(json.dumps(data, default=str), parse_constant=lambda _: None)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return None
    return data if isinstance(data, dict) else None


def _config(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _summary(config: dict[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    return {name: config[name] for name in ("architectures", "model_type") if name in config}


def _root_safetensors(paths: Collection[str]) -> list[str]:
    return [path for path in paths if path.endswith(".safetensors") and "/" not in path]


def _parameters(files: list[Path]) -> dict[str, Any] | None:
    counts: Counter[str] = Counter()
    for file in files:
        try:
            for name, tensor in (header_of(file) or {}).items():
                if name != "__metadata__":
                    counts[tensor["dtype"]] += math.prod(tensor["shape"])
        except (KeyError, TypeError):
            return None
    return {"parameters": dict(counts), "total": counts.total()} if counts else None


def _base_models(
    card: dict[str, Any], config: dict[str, Any], paths: Collection[str]
) -> dict[str, Any] | None:
    bases = texts(card.get("base_model"))
    if not bases:
        return None
    relation = card.get("base_model_relation") or _relation(len(bases), config, paths)
    return {"relation": relation, "models": [{"_id": identifier(base), "id": base} for base in bases]}


def _relation(bases: int, config: dict[str, Any], paths: Collection[str]) -> str:
    if "adapter_config.json" in paths:
        return "adapter"
    if "quantization_config" in config or any(path.endswith(".gguf") for path in paths):
        return "quantized"
    return "merge" if bases > 1 else "finetune"


def identifier(name: str) -> str:
    """A database key of 24 hexadecimal digits, as the Hub gives with every name."""
    return hashlib.sha1(name.encode()).hexdigest()[:24]


def _library(card: dict[str, Any], config: dict[str, Any]) -> str | None:
    return card.get("library_name") or ("transformers" if "architectures" in config else None)


def _tags(
    card: dict[str, Any], config: dict[str, Any], fields: dict[str, Any], paths: Collection[str]
) -> list[str]:
    bases = fields.get("baseModels", {"relation": "", "models": []})
    tags = [
        *texts(fields.get("library_name")),
        *(FORMATS[suffix] for path in sorted(paths) if (suffix := Path(path).suffix) in FORMATS),
        *texts(config.get("model_type")),
        *texts(card.get("tags")),
        *texts(fields.get("pipeline_tag")),
        *(["model-index"] if fields.get("model-index") else []),
        *texts(card.get("language")),
        *(f"dataset:{name}" for name in texts(card.get("datasets"))),
        *(f"base_model:{model['id']}" for model in bases["models"]),
        *(f"base_model:{bases['relation']}:{model['id']}" for model in bases["models"]),
        *(f"license:{name}" for name in texts(card.get("license"))),
        "region:us",
    ]
    return list(dict.fromkeys(tags))
