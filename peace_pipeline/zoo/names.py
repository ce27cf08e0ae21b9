"""Names that people type: the model ids that they stand for, or that one which isn't there is like."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.lake.query import query
from peace_pipeline.lake.tables import DELETED
from peace_pipeline.zoo.current import Current

_ALIKE = """
    SELECT model_id FROM (
        SELECT model_id, length($name) > 3 AND contains(lower(model_id), lower($name)) AS within,
               damerau_levenshtein(lower(model_id), lower($name)) AS distance
        FROM ids WHERE length(model_id) < $longest
    )
    WHERE within OR distance <= $furthest
    ORDER BY within DESC, distance, model_id LIMIT $most
"""
_LONGEST = 500
_TOP = re.compile(r"(directory:[^/#:]+)(?=[#:]|$)")


def meant(name: str) -> str:
    """The model id that a name stands for: what lies at the top of a directory source, ``directory:models/.#a.pt``, may
    be called ``directory:models#a.pt``."""
    return _TOP.sub(r"\1/.", name, count=1) if _TOP.match(name) else name


def alike(lake: Lake, name: str, most: int = 3) -> list[str]:
    """At most so many model ids of the lake in which ``name`` stands, or that few letters tell from it; those that are
    most alike first. All ids are read."""
    current, column = Current(lake, fold=False), ["model_id"]
    if not current.models.exists or len(name) > _LONGEST:
        return []
    schema = pa.schema([current.models.schema.field("model_id")])
    ids = pa.RecordBatchReader.from_batches(schema, current.scan(column, f"status <> {quoted(DELETED)}"))
    limits = {"longest": _LONGEST, "furthest": max(2, len(name) // 5), "most": most}
    return query(_ALIKE, {"ids": ids}, name=name, **limits)["model_id"].to_pylist()


def did_you_mean(lake: Lake, name: str) -> str:
    """What to add to a message that there is no model ``name``, which may be the path of one; empty where none is like
    it."""
    found = alike(lake, meant(name)) or ("/" in name and alike(lake, os.path.basename(name)))
    return f"; did you mean {' or '.join(found)}?" if found else ""


def did_you_mean_model_or_path(lake: Lake, name: str) -> str:
    """The same, where ``name`` may be a file or folder as well."""
    return did_you_mean(lake, name) or _beside(Path(os.path.expanduser(name)))


def _beside(path: Path) -> str:
    """The same, of what lies where ``path`` would."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    found = get_close_matches(path.name, names, n=1, cutoff=0.8)
    return f"; did you mean {path.parent / found[0]}?" if found else ""
