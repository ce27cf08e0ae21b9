"""What a listing says of a model, as the fields of a model record."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from huggingface_hub import ModelCardData, ModelInfo

from peace_pipeline.zoo import files, signatures
from peace_pipeline.zoo.card import as_text, card_fields, texts
from peace_pipeline.zoo.formats import format_of, is_weights
from peace_pipeline.zoo.networks import networks, variant_folders


def describe(info: ModelInfo) -> dict[str, Any]:
    """The fields of a :class:`ModelRecord` that the Hub knows: what it worked out itself before the card's claims."""
    fields = _card(info)
    config = info.config if isinstance(info.config, dict) else {}
    gguf = info.gguf if isinstance(info.gguf, dict) else {}
    relation, base = _base_model(info)
    known = {
        "architecture": as_text(config.get("model_type")) or as_text(gguf.get("architecture")),
        "library": as_text(info.library_name),
        "task": as_text(info.pipeline_tag),
        "tags": texts(info.tags) or None,
        "base_model": base,
        "base_model_relation": relation,
        "parameters": _count(info.safetensors.total if info.safetensors else gguf.get("total")),
        "created_at": info.created_at,
        "last_modified": info.last_modified,
    }
    return fields | {name: value for name, value in known.items() if value is not None}


def refusal(info: ModelInfo, *, token: bool) -> str | None:
    """Why a model is not taken, as far as the listing says; a gated one may be open to the bearer of a token."""
    if info.disabled:
        return "disabled by the Hub"
    if info.private:
        return "private"
    if info.gated and not token:
        return f"gated ({info.gated} approval) and no token is set"
    return None


def weight_names(info: ModelInfo, formats: Sequence[str]) -> list[str]:
    """The files of a repository that are its model: those at its top, or in subfolders that hold variants of it, in the
    first of ``formats`` that it has; of several formats and precisions the best.

    Raises:
        ValueError: where there are none, or several networks, with the reason.
    """
    names = [sibling.rfilename for sibling in info.siblings or ()]
    weights = [name for name in names if is_weights(name)]
    tops = [name for name in weights if "/" not in name]
    below: dict[str, list[str]] = defaultdict(list)
    for name in weights:
        folder, _, file = name.partition("/")
        if file and "/" not in file:
            below[folder].append(file)
    variants = [
        f"{folder}/{file}" for folder in variant_folders(below, described=True) for file in below[folder]
    ]
    for candidates in (tops, variants):
        for kind in formats:
            if of_kind := [name for name in candidates if format_of(name) == kind]:
                return list(files.own(networks(of_kind)).files)
    if tops or variants:
        kinds = sorted({format_of(name) for name in tops + variants})
        raise ValueError(f"weights only as {', '.join(kinds)}; taken are {', '.join(formats)}")
    foreign = sorted({what for name in names if (what := signatures.foreign_by_name(name))})
    raise ValueError("empty" if not set(names) - {".gitattributes"} else
                     "weights only in subfolders" if weights else
                     f"no weights that are read, but {', '.join(foreign)}" if foreign else "no weights")  # fmt: skip


def _card(info: ModelInfo) -> dict[str, Any]:
    data = info.card_data
    if not isinstance(data, ModelCardData):
        return {}
    try:
        if info.model_index and data.eval_results is None:
            data = ModelCardData(
                **{**data.to_dict(), "model-index": info.model_index}, ignore_metadata_errors=True
            )
        return card_fields(data)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return {}


def _base_model(info: ModelInfo) -> tuple[str | None, str | None]:
    """How the model came from which other, as the Hub worked it out."""
    found: Any = info.base_models
    if not isinstance(found, dict):
        return None, None
    models = found.get("models")
    first = models[0] if isinstance(models, list) and models and isinstance(models[0], dict) else {}
    return as_text(found.get("relation")), as_text(first.get("id"))


def _count(value: object) -> int | None:
    """A number of parameters, where it is one."""
    fits = isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 2**63
    return int(value) if fits else None  # type: ignore[call-overload]
