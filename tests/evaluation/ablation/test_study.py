"""The report on parts: two variants, trained briefly on a small zoo."""

from __future__ import annotations

import json
import shutil

import pytest

from peace_pipeline.evaluation.ablation.variants import FULL, VARIANTS
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.retraining import Size, Trainings
from peace_pipeline.lake import Lake
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]

ABLATION = all_reports()["ablation"]
FEW = {name: VARIANTS[name] for name in (FULL, "no-canonical")}
BRIEF = Size(epochs=1, seeds=2, networks=30)


@pytest.fixture(scope="module")
def home(trained: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(shutil.copytree(trained.root, tmp_path_factory.mktemp("ablation") / "home"))


@pytest.fixture(scope="module")
def report(home: Lake) -> Written:
    return ABLATION.write(home, variants=FEW, size=BRIEF)


def test_what_is_left_out_is_seen(report: Written) -> None:
    figures = report.figures
    for name in FEW:
        for scope in ("all", "weights"):
            low, mean, high = (figures[f"{name}/{scope}{end}"] for end in ("_low", "", "_high"))
            assert 0 <= low <= mean <= high <= 1
    assert figures[f"{FULL}/all/behind"] == 0
    assert figures["no-canonical/weights/behind"] == pytest.approx(
        figures[f"{FULL}/weights"] - figures["no-canonical/weights"]
    )
    assert figures[f"{FULL}/still"] < 1e-2 < figures["no-canonical/still"], (
        "scaling moves what isn't canonical"
    )


def test_what_was_trained_is_kept(report: Written, home: Lake) -> None:
    folder = home.root / "studies" / "ablation"
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/encoders/*/model.safetensors")}
    assert len(made) == len(FEW) * BRIEF.seeds
    assert ABLATION.write(home, variants=FEW, size=BRIEF).figures == report.figures
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_what_was_trained_on_other_networks_is_deleted(report: Written, home: Lake) -> None:
    folder = home.root / "studies" / "ablation"
    kept = {path.name for path in folder.iterdir()}
    recipe = FEW[FULL].recipe(BRIEF.epochs).seeded(0)
    for name in kept:
        (folder / f"{name.partition('-')[0]}-{'0' * 16}").mkdir()
    Trainings(home, folder).encoder(recipe)
    left = {path.name for path in folder.iterdir()} - kept
    assert len(left) == len(kept) - 1, "of this recipe alone"
    assert kept <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
    for text in ("Without the scale-canonical form", "Raw responses", "What moves the embedding", "seeds"):
        assert text in said
    assert ("Where PEACE does not win" in said) == (
        json.loads((report.path.parent / "figures.json").read_text())["losses"] > 0
    )


def test_a_lake_without_tasks_is_nothing_to_report(lake: Lake) -> None:
    with pytest.raises(NothingToReport):
        ABLATION.write(lake, variants=FEW, size=BRIEF)
