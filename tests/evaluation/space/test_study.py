"""The report on the embedding space, on a small lake with an untrained encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.embedder import OWN, WEIGHTS_ALONE
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.representations import CARDS, CHANCE, FLATTENED, RESPONSES, TITLES
from peace_pipeline.evaluation.resampling import Resampling
from peace_pipeline.evaluation.space.distances import Only, ratios
from peace_pipeline.evaluation.space.geometry import clustered
from peace_pipeline.evaluation.symmetry.study import family_sheets
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.testing import acted
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]

SPACE = all_reports()["space"]
SHEETS = {sheet.name: sheet for sheet in family_sheets()}
FAMILIES = ("mlp_tanh", "vgg_bn")


@pytest.fixture(scope="module")
def report(small_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Written:
    torch.manual_seed(0)
    lake = Lake.open(shutil.copytree(small_lake.root, tmp_path_factory.mktemp("space") / "home"))
    store.save(lake, Encoder(), {})
    steps: list[tuple[int, int]] = []
    found = SPACE.write(
        lake, sheets=[SHEETS[name] for name in FAMILIES], count=3, progress=lambda *step: steps.append(step)
    )
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    return found


def test_every_method_stands_in_every_table(report: Written) -> None:
    for method in TITLES:
        for table in ("silhouette/dataset", "probe/dataset", "probe/architecture"):
            low, mean, high = (report.figures[f"{table}/{method}{end}"] for end in ("_low", "", "_high"))
            assert low <= mean <= high
        assert report.figures[f"davies_bouldin/dataset/{method}"] >= 0
    for method in TITLES.keys() - {"shapes"}:
        assert f"distance/permutation/{method}" in report.figures
    assert report.figures["probe/dataset/cards"] > report.figures["probe/dataset/majority"]
    assert report.figures["probe/dataset/majority"] < report.figures["probe/dataset/statistics"]


def test_symmetries_leave_networks_nearest_to_themselves(report: Written) -> None:
    for kind in ("permutation", "scale", "all"):
        for method in (*OWN, "statistics_canonical"):
            assert report.figures[f"distance/{kind}/{method}"] < 1e-3
            assert report.figures[f"nearest/{kind}/{method}"] == 1
        assert report.figures[f"distance/{kind}/{CARDS}"] == 0
    assert report.figures[f"distance/permutation/{FLATTENED}"] > 0.8
    assert report.figures[f"distance/all/{CHANCE}"] > 0.9
    assert report.figures[f"nearest/all/{CHANCE}"] < 0.5


def test_every_action_of_the_families(report: Written) -> None:
    for action, families in (("permute", 2), ("sign", 1), ("gain", 1), ("scale", 1), ("all", 2)):
        assert report.figures[f"action/{action}/families"] == families
        assert report.figures[f"action/{action}/{WEIGHTS_ALONE}"] < 1e-2
    assert report.figures[f"action/permute/{CHANCE}"] > 0.8


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
        assert page.locator("figcaption", has_text="UMAP, coloured by architecture").count() == 1
        assert page.locator("figcaption", has_text="t-SNE, coloured by performance").count() == 1
        row = page.locator("tr.lead").first
        shown = row.locator("td[data-name='dataset']").inner_text().split()[0]
        assert shown == f"{report.figures['silhouette/dataset/peace']:.3f}"
    for text in ("How the vectors cluster", "Metadata: words of the card", "permute", "What to keep in mind"):
        assert text in said
    figures = json.loads((report.path.parent / "figures.json").read_text())
    assert figures == report.figures
    assert ("Where PEACE does not win" in said) == (figures["losses"] > 0)


def test_few_networks_are_nothing_to_report(lake: Lake) -> None:
    store.save(lake, Encoder(), {})
    with pytest.raises(NothingToReport):
        SPACE.write(lake, sheets=[])


def test_one_action_alone_keeps_the_rest() -> None:
    stack = SHEETS["vgg_bn"].draw(2, 0)
    moved = acted(stack.wiring, stack.tensors, Only(action="permute"), 0)
    assert any(not torch.equal(values, moved[name]) for name, values in stack.tensors.items())
    for name, values in stack.tensors.items():
        assert torch.allclose(values.flatten(1).sort(1).values, moved[name].flatten(1).sort(1).values)


def test_ratios_are_in_units_of_the_nearest_other() -> None:
    originals = np.array([[0.0, 0.0], [2.0, 0.0], [10.0, 0.0]])
    moved = np.array([[10.0, 8.0], [0.0, 1.0]])
    assert ratios(originals, moved, [2, 0]).tolist() == [1.0, 0.5]


def test_clusters_that_are_apart_and_such_as_are_none() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 30)
    apart = random.normal(size=(60, 5)) + np.where(labels == "a", 9, -9)[:, None]
    resampling = Resampling.of([str(i) for i in range(60)], seed=0, draws=100)
    silhouette, index = clustered(apart, labels, resampling)
    mixed, worse = clustered(random.normal(size=(60, 5)), labels, resampling)
    assert silhouette.value > 0.9 > 0.1 > mixed.value
    assert index < 1 < worse
    assert (silhouette - mixed).estimate.low > 0.5


def test_responses_that_are_not_there_tell_nothing(report: Written) -> None:
    assert report.figures[f"silhouette/dataset/{RESPONSES}"] == pytest.approx(0, abs=1e-6)
    assert Path(report.path).is_file()
