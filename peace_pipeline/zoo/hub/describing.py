"""What a listing says of a model, as the fields of a model record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from huggingface_hub import ModelCardData, ModelInfo

from peace_pipeline.zoo import layouts, signatures
from peace_pipeline.zoo.card import as_text, card_fields, texts
from peace_pipeline.zoo.formats import format_of, is_ambiguous, is_weights
from peace_pipeline.zoo.hub.tree import Look, RepositoryTree
from peace_pipeline.zoo.layouts import FolderModel


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


def models_of(info: ModelInfo, formats: Sequence[str], look: Look | None = None) -> list[FolderModel]:
    """The models of a repository, at least one: each ``name`` is the path of a network that isn't the repository's own,
    ``files`` are paths from its top. Of several ``formats`` of a network the first is read.

    ``look`` asks for what the names of the files don't tell. What can't be taken has its ``reason``.
    """
    names = [sibling.rfilename for sibling in info.siblings or ()]
    if not any(is_weights(name) or is_ambiguous(name) for name in names):
        return [_without_weights(names, formats)]
    tree = RepositoryTree(names, formats, look)
    found = [
        _placed(folder, model)
        for folder in layouts.model_folders(tree, lambda error: None)
        for model in layouts.models_in(tree, folder, formats)
    ]
    if tree.passed_over and not any(model.name == "" for model in found):
        found.append(FolderModel("", reason=_passed_over(tree.passed_over)))
    return found or [_without_weights(names, formats)]


def _passed_over(files: set[str]) -> str:
    """Why a repository has files of which nothing is known."""
    return f"{len(files)} files that may be anything were not looked at, such as {min(files)}"


def weight_names(info: ModelInfo, formats: Sequence[str]) -> list[str]:
    """The files of a repository that are weights by their names, also such as nothing reads.

    Raises:
        ValueError: where there are none, with the reason.
    """
    models = models_of(info, formats)
    if found := list(dict.fromkeys(name for model in models for name in model.files)):
        return found
    raise ValueError(models[0].reason)


def _placed(folder: str, model: FolderModel) -> FolderModel:
    """A model of a folder as one of its repository."""
    return replace(
        model,
        name=layouts.within(folder, model.name),
        files=tuple(layouts.within(folder, name) for name in model.files),
        variants=tuple(layouts.within(folder, name) for name in model.variants),
        parts=tuple(layouts.within(folder, name) for name in model.parts),
    )


def _without_weights(names: Sequence[str], formats: Sequence[str]) -> FolderModel:
    """Why a repository has no model."""
    if not {*names} - {".gitattributes"}:
        return FolderModel("", reason="empty")
    if weights := [name for name in names if is_weights(name)]:
        kinds = ", ".join(sorted({format_of(name) for name in weights}))
        return FolderModel("", reason=f"weights only as {kinds}; taken are {', '.join(formats)}")
    foreign = {name: what for name in names if (what := signatures.foreign_by_name(name))}
    if foreign:
        said = ", ".join(sorted({*foreign.values()}))
        return FolderModel("", tuple(foreign), reason=f"no weights that are read, but {said}")
    return FolderModel("", reason="no weights")


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
