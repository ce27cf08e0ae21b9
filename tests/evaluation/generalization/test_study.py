"""The report on what was left out: two architectures on one task, trained briefly."""

from __future__ import annotations

import json
import shutil

import pytest

from peace_pipeline.evaluation.generalization.results import METHOD_TITLES
from peace_pipeline.evaluation.generalization.study import QUICK
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import TEST, listings
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]

GENERALIZATION = all_reports()["generalization"]


@pytest.fixture(scope="module")
def home(trained: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(shutil.copytree(trained.root, tmp_path_factory.mktemp("generalization") / "home"))


@pytest.fixture(scope="module")
def report(home: Lake) -> Written:
    return GENERALIZATION.write(home, **QUICK)


def test_each_architecture_is_left_out(report: Written, home: Lake) -> None:
    asked = {each.architecture for each in listings(home) if each.split == TEST and each.task}
    named = {name.split("/")[1] for name in report.figures if name.startswith("architecture/")} - {"mean"}
    assert named <= asked
    assert named
    for name in named:
        for method in METHOD_TITLES:
            low, mean, high = (
                report.figures[f"architecture/{name}/{method}{end}"] for end in ("_low", "", "_high")
            )
            assert 0 <= low <= mean <= high <= 1


def test_what_is_left_out_is_not_trained_on(report: Written, home: Lake) -> None:
    trainings = [
        json.loads(path.read_text())["training"]
        for path in (home.root / "studies" / "encoders").glob("*/encoders/*/config.json")
    ]
    assert len({json.dumps(each["pairs"]["without"]) for each in trainings}) == len(trainings) > 1
    for each in trainings:
        assert not set(each["pairs"]["without"]) & set(each["architectures"])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
    for text in ("Architectures left out", "Raw responses", "PEACE, trained on it", "What to keep in mind"):
        assert text in said


def test_a_lake_without_tasks_is_nothing_to_report(lake: Lake) -> None:
    with pytest.raises(NothingToReport):
        GENERALIZATION.write(lake, **QUICK)
