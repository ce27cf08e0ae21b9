"""The report on parts: two variants, trained briefly on a small zoo."""

from __future__ import annotations

import json
import multiprocessing
import shutil

import numpy as np
import pytest

from peace_pipeline.evaluation import retraining
from peace_pipeline.evaluation.ablation.results import named
from peace_pipeline.evaluation.ablation.variants import FULL, VARIANTS, with_effect
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Found, Recipe, Size, Trainings, gained, over_seeds
from peace_pipeline.lake import Lake
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]

ABLATION = all_reports()["ablation"]
FEW = {name: VARIANTS[name] for name in (FULL, "no-canonical", "weights-alone", "responses-alone")}
SCOPES = {
    FULL: ("all", "weights", "answers"),
    "no-canonical": ("all", "weights", "answers"),
    "weights-alone": ("all", "weights"),
    "responses-alone": ("all", "answers"),
}
BRIEF = Size(epochs=1, seeds=1, networks=30)


@pytest.fixture(scope="module")
def home(trained: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(shutil.copytree(trained.root, tmp_path_factory.mktemp("ablation") / "home"))


@pytest.fixture(scope="module")
def report(home: Lake) -> Written:
    """Its encoders are trained in processes beside this one, in which none may be trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retraining, "cores", lambda: 2)
        patch.setattr(retraining, "train", lambda *_: pytest.fail("trained in this process"))
        return ABLATION.write(home, variants=FEW, size=BRIEF, diversity=False)


def test_what_is_left_out_is_seen(report: Written) -> None:
    figures = report.figures
    for name, scopes in SCOPES.items():
        for scope in scopes:
            low, mean, high = (figures[f"{name}/{scope}{end}"] for end in ("_low", "", "_high"))
            assert 0 <= low <= mean <= high <= 1
    assert "weights-alone/answers" not in figures
    assert "responses-alone/weights" not in figures
    assert figures["weights-alone/all"] == figures["weights-alone/weights"]
    assert figures["responses-alone/all"] == figures["responses-alone/answers"]
    assert figures[f"{FULL}/all/behind"] == 0
    assert figures["no-canonical/weights/behind"] == pytest.approx(
        figures[f"{FULL}/weights"] - figures["no-canonical/weights"]
    )
    assert figures[f"{FULL}/still"] < 1e-2 < figures["no-canonical/still"], (
        "scaling moves what isn't canonical"
    )
    assert "responses-alone/still" not in figures


def test_kinds_of_pairs_that_a_lake_lacks_are_not_tried(home: Lake) -> None:
    tried = with_effect(home, VARIANTS)
    assert {"no-task", "no-architecture", "no-spoilt"}.isdisjoint(tried), "one task, no twins"
    assert {
        FULL,
        "no-same-task",
        "no-same-recipe",
        "no-copies",
        "no-twins",
        "positions",
        "ntxent",
    } <= tried.keys()


def test_every_variant_is_a_training() -> None:
    recipes = [variant.recipe(2) for variant in VARIANTS.values()]
    for place, recipe in enumerate(recipes):
        assert recipe not in recipes[:place]
        assert recipe.settings.epochs == recipe.settings.patience == 2
        assert recipe.pairs.without == [""]


def test_what_was_trained_is_kept(report: Written, home: Lake) -> None:
    folder = home.root / "studies" / "encoders"
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/encoders/*/model.safetensors")}
    assert len(made) == len(FEW) * BRIEF.seeds
    assert ABLATION.write(home, variants=FEW, size=BRIEF, diversity=False).figures == report.figures
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_lake_with_too_little_is_said_to_be_so_by_any_process(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "cores", lambda: 2)
    recipes = {seed: Recipe.of(1).seeded(seed) for seed in range(4)}
    with pytest.raises(NothingToReport):
        list(Trainings(lake).encoders(recipes))
    assert not multiprocessing.active_children()


def test_what_was_trained_on_other_networks_is_deleted(report: Written, home: Lake) -> None:
    folder = home.root / "studies" / "encoders"
    kept = {path.name for path in folder.iterdir()}
    recipe = FEW[FULL].recipe(BRIEF.epochs).seeded(0)
    for name in kept:
        (folder / f"{name.partition('-')[0]}-{'0' * 16}").mkdir()
    list(Trainings(home).encoders({FULL: recipe}))
    left = {path.name for path in folder.iterdir()} - kept
    assert len(left) == len(kept) - 1, "of this recipe alone"
    assert kept <= {path.name for path in folder.iterdir()}


def test_encoders_that_differ_by_their_seeds_alone_are_seldom_told_apart() -> None:
    """Intervals of 95% over three seeds, where queries say nothing, leave out what is true in 5% at most."""
    random, everybody = np.random.default_rng(0), np.arange(30)
    resampling = Resampling.of([f"run-{i}" for i in range(30)], 0)

    def encoder() -> Resampled:
        return over_seeds(
            [Found(np.full(30, 0.5 + 0.02 * random.normal()), everybody) for _ in range(3)], resampling
        )

    behind = [(encoder() - encoder()).estimate.low > 0 for _ in range(400)]
    assert np.mean(behind) < 0.03


def test_intervals_are_over_runs_and_over_seeds() -> None:
    runs = [f"run-{i}" for i in range(40)]
    resampling, everybody = Resampling.of(runs, 0), np.arange(40)
    low, high = Found(np.full(40, 0.2), everybody), Found(np.full(40, 0.6), everybody)
    same = over_seeds([low, low, low], resampling).estimate
    assert (same.low, same.mean, same.high) == pytest.approx((0.2, 0.2, 0.2))
    found = over_seeds([low, low, high], resampling).estimate
    assert found.mean == pytest.approx(1 / 3)
    assert (found.low, found.high) == (0, pytest.approx(1 / 3 + 4.30 * 0.4 / 3, abs=0.1)), "t of two degrees"
    more = gained([high, high, low], [low, low, Found(np.full(40, -0.2), everybody)], resampling).estimate
    assert (more.low, more.mean, more.high) == pytest.approx((0.4, 0.4, 0.4)), "seed by seed"
    some = Found(np.full(10, 0.8), everybody[:10])
    assert over_seeds([low, some], resampling).value == pytest.approx(0.5), "each seed's own queries"


def test_variants_are_named_by_the_shorter_list() -> None:
    assert named(["a", "b"], ["c", "d", "e"]) == "“a”, “b”"
    assert named(["c", "d", "e"], ["a", "b"]) == "all but “a”, “b”"
    assert named(["a"], []) == "all"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
    for text in (
        "Scaled copies for the canonical form",
        "Raw responses",
        "What moves the embedding",
        "seeds",
    ):
        assert text in said
    assert ("Where PEACE does not win" in said) == (
        json.loads((report.path.parent / "figures.json").read_text())["losses"] > 0
    )


def test_a_lake_without_tasks_is_nothing_to_report(lake: Lake) -> None:
    with pytest.raises(NothingToReport):
        ABLATION.write(lake, variants=FEW, size=BRIEF, diversity=False)
