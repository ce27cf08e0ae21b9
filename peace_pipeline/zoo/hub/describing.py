"""What a listing says of a model, as the fields of a model record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from huggingface_hub import ModelCardData, ModelInfo

from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import as_text, card_fields, texts


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
    """The files at the top of a repository that are its model, in the first of ``formats`` that it has.

    Raises:
        ValueError: where there are none, with the reason.
    """
    names = [sibling.rfilename for sibling in info.siblings or ()]
    weights = [name for name in names if files.is_weights(name.rpartition("/")[2])]
    top = [name for name in weights if "/" not in name]
    for kind in formats:
        if of_kind := [name for name in top if files.format_of(name) == kind]:
            return files.choose(of_kind)
    if top:
        kinds = sorted({files.format_of(name) for name in top})
        raise ValueError(f"weights only as {', '.join(kinds)}; taken are {', '.join(formats)}")
    raise ValueError("empty" if not set(names) - {".gitattributes"} else
                     "weights only in subfolders" if weights else "no weights")  # fmt: skip


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
