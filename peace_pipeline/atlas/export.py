"""The atlas as one HTML file that asks the network for nothing: what it shows, packed, and the page around it."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from peace_pipeline.atlas.layout import lay_out
from peace_pipeline.atlas.lineage import Lineage, read_lineage
from peace_pipeline.atlas.neighbours import Neighbours, nearest
from peace_pipeline.atlas.points import Points, read_points
from peace_pipeline.evaluation.look import FONT, PALETTE
from peace_pipeline.evaluation.reports import write_contents
from peace_pipeline.index.tables import MODELS, connect, table_names
from peace_pipeline.lake import Lake, atomic
from peace_pipeline.progress import Progress

MOST, SEED, NEAREST, LAID_BY = 100_000, 0, 10, 14
_FINEST = 2**16 - 1
_UNKNOWN, _LONGEST = "not said", 120
_FACETS = {
    "task": "Task",
    "dataset": "Dataset",
    "architecture": "Architecture",
    "origin": "Origin",
    "library": "Library",
    "sense": "Read by",
}
_NUMBERS = {"accuracy": "Accuracy", "parameters": "Parameters"}


@dataclass(frozen=True)
class WrittenAtlas:
    """An atlas that was written just now: its page, how many networks it shows, and how many the index has."""

    path: Path
    shown: int
    total: int


def is_current(lake: Lake, *, most: int = MOST, seed: int = SEED) -> bool:
    """Whether the atlas is that of the index as it is now, drawn in this way."""
    made = _made(lake)
    return (
        lake.atlas.exists()
        and made.exists()
        and json.loads(made.read_text()) == _way(_index_version(lake), most, seed)
    )


def _made(lake: Lake) -> Path:
    """What the atlas was made from, beside it."""
    return lake.atlas.with_suffix(".json")


def _way(version: int | None, most: int, seed: int) -> dict[str, int | None]:
    return {"index": version, "most": most, "seed": seed}


def _index_version(lake: Lake) -> int | None:
    """The version of the table of models; ``None`` where there is none."""
    if not lake.index.exists() or MODELS.name not in table_names(database := connect(lake)):
        return None
    return database.open_table(MODELS.name).version


def write_atlas(
    lake: Lake, *, most: int = MOST, seed: int = SEED, progress: Progress | None = None
) -> WrittenAtlas:
    """Lay out the networks of the index, at most ``most`` of them drawn at random, find the nearest of each among
    them, and write the page.

    Raises:
        NoIndex: where there are none.
    """
    version = _index_version(lake)
    points = read_points(lake, most, seed)
    neighbours = nearest(points.vectors, LAID_BY, progress=progress)
    lineage = read_lineage(lake, points.model_ids, points.known["content"].to_pylist())
    if progress:
        progress(0, 0, "laying out the map, for which UMAP compiles itself at first")
    with atomic(lake.atlas) as temporary:
        temporary.write_text(
            render(points, lay_out(points.vectors, neighbours, seed=seed), neighbours, lineage, seed),
            encoding="utf-8",
        )
    with atomic(_made(lake)) as temporary:
        temporary.write_text(json.dumps(_way(version, most, seed)))
    write_contents(lake)
    return WrittenAtlas(lake.atlas, len(points), points.total)


def render(
    points: Points, places: NDArray[np.float32], neighbours: Neighbours, lineage: Lineage, seed: int
) -> str:
    """The page of these points at ``places`` (networks, 2)."""
    names, codes = facets(points.known)
    document = {
        "count": len(points),
        "total": points.total,
        "seed": seed,
        "encoder": points.known["encoder_version"][0].as_py(),
        "k": min(NEAREST, neighbours.places.shape[1]),
        "facets": [{"key": key, "title": title, "names": names[key]} for key, title in _FACETS.items()],
        "numbers": [{"key": key, "title": title} for key, title in _NUMBERS.items()],
        "derived": [list(each) for each in lineage.derived],
        "palette": PALETTE,
    }
    blocks = {
        "document": json.dumps(document).encode(),
        "ids": json.dumps(points.model_ids).encode(),
        "places": fitted(places).tobytes(),
        "codes": np.stack([codes[key] for key in _FACETS]).tobytes(),
        "values": np.stack(numbers(points.known)).tobytes(),
        "neighbours": neighbours.places[:, :NEAREST].astype("<u4").tobytes(),
        "cosines": np.round((neighbours.cosines[:, :NEAREST] + 1) / 2 * _FINEST).astype("<u2").tobytes(),
        "groups": np.stack([lineage.runs, lineage.contents, neighbours.firsts(points.vectors)])
        .astype("<u4")
        .tobytes(),
        "order": _by_length(points.known["model_id"]).tobytes(),
    }
    environment = Environment(
        loader=PackageLoader("peace_pipeline.atlas"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("atlas.html").render(
        blocks={name: _packed(data) for name, data in blocks.items()}, font=Markup(FONT)
    )


def _by_length(names: pa.ChunkedArray) -> NDArray[np.uint32]:
    """Places of names, the shortest first and equally long ones by the alphabet: a search shows the first it finds."""
    table = pa.table({"length": pc.utf8_length(names), "name": names})
    order = pc.sort_indices(table, sort_keys=[("length", "ascending"), ("name", "ascending")])
    return order.to_numpy().astype("<u4")


def facets(known: pa.Table) -> tuple[dict[str, list[str]], dict[str, NDArray[np.uint16]]]:
    """Of each facet the names, most frequent first and what is not said last, and the place of every network's name
    among them."""
    columns = {
        "task": known["task"],
        "dataset": pa.array([", ".join(each or ()) or None for each in known["datasets"].to_pylist()]),
        "architecture": known["architecture"],
        "origin": known["source"],
        "library": known["library"],
        "sense": pc.if_else(pc.is_valid(known["run_by"]), "weights and responses", "weights alone"),
    }
    names, codes = {}, {}
    for key, column in columns.items():
        filled = pc.utf8_slice_codeunits(pc.fill_null(column.cast(pa.string()), _UNKNOWN), 0, _LONGEST)
        counted = pc.value_counts(filled).to_pylist()
        counted.sort(key=lambda each: (each["values"] == _UNKNOWN, -each["counts"], each["values"]))
        found = [each["values"] for each in counted]
        kept = found if len(found) <= _FINEST else [*found[: _FINEST - 1], "other"]
        places = pc.fill_null(pc.index_in(filled, pa.array(kept)), len(kept) - 1)
        names[key], codes[key] = kept, places.to_numpy().astype("<u2")
    return names, codes


def numbers(known: pa.Table) -> list[NDArray[np.float32]]:
    """Accuracy and parameters of every network, not a number where they are not said."""
    accuracies = [_accuracy(each or ()) for each in known["metrics"].to_pylist()]
    parameters = known["parameters"].cast(pa.float64()).to_numpy()
    return [np.asarray(values, "<f4") for values in (accuracies, parameters)]


def _accuracy(metrics: Sequence[dict[str, Any]]) -> float:
    """A share; cards say percent, too, and what is neither is left out."""
    said = next((each["value"] for each in metrics if each["name"] == "accuracy"), None)
    share = math.nan if said is None else said / 100 if said > 1 else said
    return share if 0 <= share <= 1 else math.nan


def fitted(places: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Places (networks, 2) in a square of 2^16 by 2^16, without changing their proportions."""
    low, high = places.min(axis=0), places.max(axis=0)
    size = max(float((high - low).max()), np.finfo(np.float32).tiny)
    centred = (places - (low + high) / 2) / size + 0.5
    return np.round(centred * _FINEST).astype("<u2")


def _packed(data: bytes) -> Markup:
    """Compressed, as text; the same data always gives the same text."""
    return Markup(base64.b64encode(gzip.compress(data, 6, mtime=0)).decode())
