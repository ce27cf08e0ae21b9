"""Reports in the lake: a page and its figures each, written whole, logged to MLflow, and listed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from peace_pipeline.lake import Lake, atomic

_PAGE, _FIGURES = "index.html", "figures.json"


@dataclass(frozen=True)
class Report:
    """A report's page and its figures, by name."""

    name: str
    path: Path
    figures: dict[str, float] = field(default_factory=dict)


def publish(lake: Lake, name: str, page: str, figures: dict[str, float]) -> Report:
    """Write a report's page and figures and log the figures to MLflow."""
    folder = lake.reports / name
    with atomic(folder / _FIGURES) as temporary:
        temporary.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    with atomic(folder / _PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    _log(lake, name, figures)
    return Report(name, folder / _PAGE, figures)


def list_reports(lake: Lake) -> list[dict[str, str]]:
    """Name, path and time (ISO 8601) of every report in the lake, by name."""
    return [
        {
            "name": page.parent.name,
            "path": str(page),
            "created_at": datetime.fromtimestamp(page.stat().st_mtime, UTC).isoformat(),
        }
        for page in sorted(lake.reports.glob(f"*/{_PAGE}"))
    ]


def _log(lake: Lake, name: str, figures: dict[str, float]) -> None:
    import mlflow

    mlflow.set_tracking_uri(lake.mlflow_uri)
    mlflow.set_experiment("reports")
    with mlflow.start_run(run_name=name):
        mlflow.log_metrics(
            {re.sub(r"[^\w\-./ ]", "_", key): value for key, value in figures.items() if math.isfinite(value)}
        )
