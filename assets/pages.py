"""Pages in the lineage: where one lies, and a link that opens it.

Browsers open no file from a page that a server sent, so `peace ui` serves the lake's reports beside Dagster.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import dagster as dg

from peace_pipeline.lake import Lake

ADDRESS = "http://127.0.0.1:3001"
"""Where `peace ui` serves the folder of reports, unless ``PEACE_PAGES`` says otherwise."""
MLFLOW = "http://127.0.0.1:3002"
"""Where `peace ui` serves the lake's MLflow, unless ``PEACE_MLFLOW`` says otherwise."""


def page_metadata(page: Path, reports: Path) -> dict[str, dg.MetadataValue]:
    """Of a page in the folder ``reports``: its path, and its link."""
    address = os.environ.get("PEACE_PAGES", ADDRESS).rstrip("/")
    link = f"{address}/{quote(page.relative_to(reports).as_posix())}"
    return {"page": dg.MetadataValue.url(link), "path": dg.MetadataValue.path(str(page))}


def listed(lines: Iterable[str]) -> dg.MetadataValue:
    """A list that is seen at once."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or "none")


def figures(values: Mapping[str, float], digits: int = 4) -> dict[str, float]:
    """Figures for people, with so many significant digits."""
    return {name: float(f"{value:.{digits}g}") for name, value in values.items()}


def tracked(lake: Lake, name: str, run_id: str) -> dg.MetadataValue:
    """The link to a run of MLflow's experiment ``name``."""
    from peace_pipeline.lake.tracking import experiment

    address = os.environ.get("PEACE_MLFLOW", MLFLOW).rstrip("/")
    return dg.MetadataValue.url(f"{address}/#/experiments/{experiment(lake, name)}/runs/{run_id}")
