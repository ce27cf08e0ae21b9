"""Asset, job, check and command follow from one registration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from peace_pipeline.evaluation.reports import NothingToReport, all_reports, write_each, written_reports
from peace_pipeline.lake import Lake
from tests.pipeline import environment

REGISTERED = '''
from peace_pipeline.evaluation.page import Page, Section
from peace_pipeline.evaluation.reports import Content, NothingToReport, report

@report("census", title="Who is here", depends_on=("lancedb_index",), after_training=True)
def census(lake, *, progress=None):
    """How many files <the lake> has."""
    if not (lake.root / "people").exists():
        raise NothingToReport("nobody is here")
    people = float((lake.root / "people").read_text())
    page = Page("Two sentences & more.", {"people": f"{people:g}"}, [Section("All", ["<b>everybody</b>"])])
    return Content(page, {"people": people, "half": people / 2}, {"people": people}, {"list.txt": "ann, bob"})
'''
LINEAGE = """
import json
from peace_pipeline.definitions import defs

graph = defs.resolve_asset_graph()
asset = next(spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() == "census_report")
print(json.dumps({
    "group": asset.group_name,
    "description": asset.description,
    "kinds": sorted(asset.kinds),
    "deps": [dep.asset_key.to_user_string() for dep in asset.deps],
    "job": [key.to_user_string() for key in defs.resolve_job_def("census").asset_layer.executable_asset_keys],
    "after training": len(defs.resolve_job_def("reports").asset_layer.executable_asset_keys),
    "checks": [key.name for key in graph.asset_check_keys if key.asset_key == asset.key],
}))
"""
COMMANDS = """
import sys
from peace_pipeline.cli.app import app
app(sys.argv[1:])
"""


def run(script: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Output and errors of a process in which a report is registered."""
    done = subprocess.run(
        [sys.executable, "-c", REGISTERED + script, *arguments],
        env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_the_lineage_follows_from_a_registration() -> None:
    found = json.loads(run(LINEAGE)[0])
    assert found.pop("description").startswith("How many files <the lake> has. ")
    assert sorted(found.pop("checks")) == ["census_report_has_no_shortfalls", "census_report_is_whole"]
    assert found == {
        "group": "reports",
        "kinds": ["mlflow", "plotly", "python"],
        "deps": ["lancedb_index"],
        "job": ["census_report"],
        "after training": 2,
    }


def test_the_command_writes_what_is_registered(lake: Lake) -> None:
    home = ("--home", str(lake.root))
    assert "nobody is here" in run(COMMANDS, "report", "census", "--write", *home, code=1)[1]
    assert "`peace report census --write` writes it" in run(COMMANDS, "report", "census", *home, code=1)[1]
    (lake.root / "people").write_text("3")
    (row,) = json.loads(run(COMMANDS, "report", "census", "--write", "--json", *home)[0])
    assert written_reports(lake) == [row]
    page = Path(row["path"]).read_text()
    assert "<h1>Who is here</h1>" in page
    assert "Two sentences &amp; more." in page
    assert "&lt;b&gt;everybody" in page
    folder = lake.reports / "census"
    assert json.loads((folder / "figures.json").read_text()) == {"half": 1.5, "people": 3.0}
    assert (folder / "list.txt").read_text() == "ann, bob"


def test_a_figure_that_is_no_number_fails_the_check(lake: Lake) -> None:
    (lake.root / "people").write_text("nan")
    _, errors = run(COMMANDS, "report", "census", "--write", "--home", str(lake.root), code=1)
    assert "census_report_is_whole" in errors


def test_every_report_has_a_quick_form_that_writes_its_page_apart(trained: Lake) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.reports.glob("**/*.html")}
    outcomes = list(write_each(lambda name: all_reports()[name].write(trained, quick=True)))
    errors = {outcome.name: outcome.error for outcome in outcomes}
    assert list(errors) == list(all_reports())
    left_out = {name for name, error in errors.items() if isinstance(error, NothingToReport)}
    assert not [error for name, error in errors.items() if error and name not in left_out]
    written = [row["name"] for row in written_reports(trained, quick=True)]
    assert written == [name for name in all_reports() if name not in left_out]
    assert {"provenance", "retrieval", "space", "symmetry", "transfer"} <= set(written)
    assert {path: path.stat().st_mtime_ns for path in trained.reports.glob("**/*.html")} == before


def test_one_that_fails_does_not_stop_the_others() -> None:
    def write(name: str) -> None:
        if name == "space":
            raise ValueError(name)

    outcomes = list(write_each(write))
    assert [outcome.name for outcome in outcomes] == sorted(all_reports())
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == ["space"]


def test_what_lacks_is_a_fault(lake: Lake) -> None:
    report = all_reports()["retrieval"]
    assert report.faults(lake) == ["index.html is not there", "figures.json is not there"]


@pytest.mark.parametrize("name", all_reports())
def test_every_report_says_what_it_is(name: str) -> None:
    report = all_reports()[name]
    assert report.title
    assert report.description.endswith(".")
    assert report.depends_on
