"""Reports. Each folder here that registers one is a report; what is written of them lies in the lake.

From a registration follow the Dagster asset ``NAME_report``, its job and its checks, and ``peace report NAME --write``.
This module and the registrations load nothing heavy: they are read wherever the lineage is.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from peace_pipeline.lake import Lake, atomic
from peace_pipeline.lake.tracking import DESCRIPTION, recorded
from peace_pipeline.progress import Progress

if TYPE_CHECKING:
    from peace_pipeline.evaluation.page import Page

EXPERIMENT, QUICK_EXPERIMENT = "reports", "quick reports"
"""MLflow's experiments."""
_PAGE, _PLAIN, _FIGURES, _ABOUT = "index.html", "index.md", "figures.json", "about.json"


class NothingToReport(Exception):
    """The lake has nothing that the report could be about; the message says what it lacks."""


@dataclass(frozen=True)
class Content:
    """What a report says: its page, its figures by name, and the text of other files that it leaves in its folder.

    ``headline`` are the handful of figures that the lineage and the list of reports show, ``missed`` the promises that
    are not kept, a line each.
    """

    page: Page
    figures: Mapping[str, float]
    headline: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    missed: Sequence[str] = ()


@dataclass(frozen=True)
class Written:
    """A report that was written just now; ``run_id`` is its run in MLflow."""

    path: Path
    figures: Mapping[str, float]
    headline: Mapping[str, float]
    run_id: str


@dataclass(frozen=True)
class Report:
    """A registered report.

    ``depends_on`` are the assets that it reads, ``kinds`` what it is made with. One ``after_training`` is written by
    the pass that follows a new encoder; the others when they are asked for.
    """

    name: str
    title: str
    description: str
    depends_on: tuple[str, ...]
    kinds: tuple[str, ...]
    after_training: bool
    study: Callable[..., Content]

    @property
    def asset(self) -> str:
        """The key of its asset."""
        return f"{self.name}_report"

    @property
    def has_quick_form(self) -> bool:
        """Whether its study can be asked to be ``quick``."""
        return "quick" in signature(self.study).parameters

    def write(
        self, lake: Lake, *, quick: bool = False, progress: Progress | None = None, **settings: object
    ) -> Written:
        """Measure, write the page, its words and tables as Markdown, its figures and files, and log them to MLflow.

        ``settings`` go to the study. A ``quick`` one measures so little that it takes seconds: it shows that the study
        works, not what it finds, and lies apart from the reports.

        Raises:
            NothingToReport: where the lake has nothing to report on, or the report no quick form; nothing is written.
            NoEncoder: where the study needs an encoder and the lake has none.
        """
        from peace_pipeline.evaluation import markdown
        from peace_pipeline.evaluation.page import render

        if quick and not self.has_quick_form:
            raise NothingToReport(f"{self.name} has no quick form")
        quickly = {"quick": True} if quick else {}
        content = self.study(lake, progress=progress, **quickly, **settings)
        about = {
            "title": self.title,
            "summary": content.page.summary,
            "losses": list(content.page.losses),
            "headline": dict(content.headline),
            "missed": list(content.missed),
        }
        command = f"peace report {self.name} --write{quick * ' --quick'}"
        files = {
            **content.files,
            _FIGURES: json.dumps(dict(content.figures), indent=2, sort_keys=True) + "\n",
            _ABOUT: json.dumps(about, indent=2) + "\n",
            _PLAIN: markdown.render(self.title, content.page, command),
            _PAGE: render(self.title, content.page, command),
        }
        folder = reports_folder(lake, quick) / self.name
        for name, text in files.items():
            with atomic(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        run_id = _log(lake, self.name, content, folder, quick)
        write_contents(lake, quick)
        return Written(folder / _PAGE, content.figures, content.headline, run_id)

    def shortfalls(self, lake: Lake) -> list[str]:
        """What the lake's report says against PEACE, a line each: promises not kept, methods that do better."""
        about = lake.reports / self.name / _ABOUT
        said = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
        return [*said.get("missed", ()), *said.get("losses", ())]

    def faults(self, lake: Lake) -> list[str]:
        """What is wrong with what the lake holds of the report, a line each: files that lack, figures that are none."""
        folder = lake.reports / self.name
        lacking = [name for name in (_PAGE, _FIGURES) if not (folder / name).is_file()]
        if lacking:
            return [f"{name} is not there" for name in lacking]
        figures = json.loads((folder / _FIGURES).read_text())
        return [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]


_REPORTS: dict[str, Report] = {}


def report(
    name: str,
    *,
    title: str,
    depends_on: tuple[str, ...],
    kinds: tuple[str, ...] = ("python", "plotly", "mlflow"),
    after_training: bool = False,
) -> Callable[[Callable[..., Content]], Callable[..., Content]]:
    """Decorator: register a study, a function of a lake and a ``progress`` (and of ``quick``, where it has
    such a form), under a name.

    Its docstring is the report's description.
    """

    def add(study: Callable[..., Content]) -> Callable[..., Content]:
        description = " ".join((study.__doc__ or title).split("\n\n")[0].split())
        _REPORTS[name] = Report(name, title, description, depends_on, kinds, after_training, study)
        return study

    return add


def all_reports() -> dict[str, Report]:
    """Every report by its name: each folder beside this module registers its own."""
    for folder in iter_modules([str(Path(__file__).parent)]):
        if folder.ispkg:
            import_module(f"{__package__}.{folder.name}")
    return dict(sorted(_REPORTS.items()))


@dataclass(frozen=True)
class Outcome:
    """What came of writing one report among others: the ``error`` is ``None`` where it was written."""

    name: str
    seconds: float
    error: Exception | None = None


def write_each(write: Callable[[str], object]) -> Iterator[Outcome]:
    """Have every report written, by name: one that fails doesn't stop the others."""
    for name in all_reports():
        started, error = time.monotonic(), None
        try:
            write(name)
        except Exception as raised:
            error = raised
        yield Outcome(name, round(time.monotonic() - started, 1), error)


def reports_folder(lake: Lake, quick: bool = False) -> Path:
    """Where the reports of a lake lie; its ``quick`` ones lie apart."""
    return lake.root / "quick_reports" if quick else lake.reports


def written_reports(lake: Lake, quick: bool = False) -> list[dict[str, str]]:
    """Name, path and time (ISO 8601) of every report in the lake, by name."""
    return [
        {
            "name": page.parent.name,
            "path": str(page),
            "created_at": datetime.fromtimestamp(page.stat().st_mtime, UTC).isoformat(),
        }
        for page in sorted(reports_folder(lake, quick).glob(f"*/{_PAGE}"))
    ]


def write_contents(lake: Lake, quick: bool = False) -> Path:
    """Write the page that lists what is written; its path."""
    from peace_pipeline.evaluation.page import Entry, render_contents

    entries, known, folder = [], all_reports(), reports_folder(lake, quick)
    for row in written_reports(lake, quick):
        about = folder / row["name"] / _ABOUT
        said = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
        said = {name: said[name] for name in ("title", "summary", "losses", "headline") if name in said}
        said.setdefault("title", known[row["name"]].title if row["name"] in known else row["name"])
        entries.append(Entry(row["name"], created_at=row["created_at"], **said))
    summary = (
        "What was measured of this lake, each report from its own data, with the command that makes it again."
    )
    atlas = lake.atlas.name if lake.atlas.exists() and not quick else ""
    page = folder / _PAGE
    with atomic(page) as temporary:
        temporary.write_text(render_contents("Reports", summary, entries, atlas), encoding="utf-8")
    return page


def _log(lake: Lake, name: str, content: Content, folder: Path, quick: bool) -> str:
    """Record the headline as metrics and the rest as files: a table of all figures, and the page; the id of the run."""
    import mlflow

    from peace_pipeline.encoder.store import current_version

    version = current_version(lake) or "none"
    experiment = QUICK_EXPERIMENT if quick else EXPERIMENT
    tags = {"report": name, "encoder_version": version, DESCRIPTION: content.page.summary}
    with recorded(lake, experiment, f"{name} {version}", tags) as run_id:
        mlflow.log_metrics(
            {
                re.sub(r"[^\w\-./ ]", "_", key): value
                for key, value in content.headline.items()
                if math.isfinite(value)
            }
        )
        table = {"figure": list(content.figures), "value": list(content.figures.values())}
        mlflow.log_table(table, "figures-table.json")
        for file in (_PAGE, _PLAIN, _FIGURES, *content.files):
            mlflow.log_artifact(str(folder / file))
        return run_id
