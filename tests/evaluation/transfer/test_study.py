"""The whole report on a small trained zoo: the study's own code with a small budget."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.transfer import study
from peace_pipeline.evaluation.transfer.methods import TITLES
from peace_pipeline.evaluation.transfer.page import losses
from peace_pipeline.evaluation.transfer.results import OURS, Results
from peace_pipeline.evaluation.transfer.targets import TARGETS
from peace_pipeline.evaluation.transfer.tuning import Budget
from peace_pipeline.lake import Lake
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]
TRANSFER = all_reports()["transfer"]
QUICK: dict[str, Any] = {
    "targets": (TARGETS[0], TARGETS[-1]),
    "seeds": 2,
    "k": 2,
    "budget": Budget(steps=(0, 10, 30)),
    "query_steps": 30,
}


@pytest.fixture(scope="module")
def report(trained: Lake) -> Written:
    steps: list[tuple[int, int]] = []
    found = TRANSFER.write(trained, progress=lambda done, total: steps.append((done, total)), **QUICK)
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    return found


@pytest.fixture(scope="module")
def results(report: Written, trained: Lake) -> Results:
    return study.fine_tune_all(trained, **QUICK)


def test_every_method_has_its_figures(report: Written) -> None:
    for method in TITLES:
        for measure in ("area", "early", "accuracy", "f1", "best"):
            low, mean, high = (report.figures[f"{method}/{measure}{end}"] for end in ("_low", "", "_high"))
            assert 0 <= low <= mean <= high <= 1
        assert 0 <= report.figures[f"{method}/steps"] <= 30
        assert report.figures[f"{method}/area"] <= report.figures["hindsight/area"] or method == "scratch"
    assert report.figures["candidates"] > 5
    assert report.headline.keys() < report.figures.keys()


def test_it_goes_on_where_it_was_stopped(report: Written, results: Results, trained: Lake) -> None:
    runs = report.path.parent / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.iterdir()}
    lost = max(before, key=lambda path: before[path])  # the quick form of the report leaves runs here, too
    lost.unlink()
    again = study.fine_tune_all(trained, **QUICK)
    after = {path: path.stat().st_mtime_ns for path in runs.iterdir()}
    assert after.keys() == before.keys()
    assert {path for path in before if after[path] != before[path]} == {lost}
    np.testing.assert_array_equal(again.outcomes.accuracy, results.outcomes.accuracy)
    assert all(np.array_equal(again.chosen[name], results.chosen[name]) for name in TITLES)


def test_the_page_stands_alone_and_says_what_was_not_won(report: Written, results: Results) -> None:
    page = report.path.read_text()
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", own)
    for title in TITLES.values():
        assert str(escape(title)) in page
    assert "digits-mirrored" in page
    said = losses(results)
    leads = {name: results.lead(name) for name in results.rivals if name not in OURS}
    better = sorted((name for name in leads if leads[name].mean < 0), key=lambda name: leads[name].mean)
    unsure = [TITLES[name] for name in leads if leads[name].mean >= 0 and leads[name].low <= 0]
    assert [line.split(" gives")[0] for line in said[: len(better)]] == [TITLES[name] for name in better]
    assert ", ".join(unsure) in "".join(said)
    few = [TITLES[name] for name in OURS if results.won("steps", name)[0] < 2]
    unshown = [line for line in said if "is not shown" in line]
    assert [line.split("networks of ")[1].split(" reach")[0] for line in unshown] == few
    assert all(str(escape(line)) in own for line in said)
    assert json.loads((report.path.parent / "figures.json").read_text()) == report.figures


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser_its_figures_are_in_sight(
    report: Written, browser: sync_api.Browser, width: int
) -> None:
    with opened(browser, report.path, width) as page:
        assert page.get_by_role("heading", name="Where PEACE does not win").is_visible()
        first = page.locator("tr.lead").first
        assert first.get_by_role("rowheader").inner_text() == "PEACE"
        area = first.get_by_role("cell").first
        assert area.inner_text().split()[0] == f"{report.figures['peace/area']:.3f}"
        box = area.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width


def test_networks_are_named(results: Results) -> None:
    for method in ("peace", "hindsight"):
        names = results.names_of(method, 0)
        assert len(names) == 2
        assert all("mlp" in name or "cnn" in name for name in names)


def test_a_lake_without_a_trained_zoo(lake: Lake) -> None:
    with pytest.raises(NothingToReport):
        TRANSFER.write(lake)
