"""The report on anomalies, on a few networks that are trained for it and a small lake with an untrained encoder."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.anomaly.detection import copies, far, judged, learned, threshold
from peace_pipeline.evaluation.anomaly.results import ACCURACY, METHOD_TITLES
from peace_pipeline.evaluation.anomaly.suspects import BACKDOORED, CLEAN, SHUFFLED, kinds, suspects
from peace_pipeline.evaluation.embedder import OWN
from peace_pipeline.evaluation.probing import Sides
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.representations import CHANCE, FLATTENED, KNOW_CARDS, RESPONSES
from peace_pipeline.evaluation.resampling import Resampling
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import listings
from peace_pipeline.zoo.trained import PLANS
from peace_pipeline.zoo.trained.suspects import SUSPECTS
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]

ANOMALY = all_reports()["anomaly"]
STEPS = {"mlp": 120, "cnn": 60}
FEW = replace(
    SUSPECTS,
    name="few-suspects",
    architectures={name: SUSPECTS.architectures[name] for name in STEPS},
    tasks={"digits": STEPS},
)


@pytest.fixture(scope="module")
def home(small_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The small lake, and in it the study's own with one chunk for each architecture."""
    torch.manual_seed(0)
    lake = Lake.open(shutil.copytree(small_lake.root, tmp_path_factory.mktemp("anomaly") / "home"))
    store.save(lake, Encoder(), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, FEW.name, FEW)
        suspects(lake, FEW.name, 2 * FEW.chunk_size)
        yield lake


@pytest.fixture(scope="module")
def report(home: Lake) -> Written:
    return ANOMALY.write(home, recipe=FEW.name, networks=2 * FEW.chunk_size)


def test_suspects_come_in_trios(home: Lake) -> None:
    own = suspects(home, FEW.name, 2 * FEW.chunk_size)
    listed = listings(own)
    records = Current(own).records(each.model_id for each in listed)
    wrong = kinds([records[each.model_id] for each in listed])
    assert Counter(wrong.tolist()) == {CLEAN: 16, SHUFFLED: 16, BACKDOORED: 16}
    trios: dict[str, list[str]] = {}
    for each, kind in zip(listed, wrong.tolist(), strict=True):
        trios.setdefault(each.twin_of or each.run, []).append(kind)
    assert all(sorted(of) == sorted((CLEAN, SHUFFLED, BACKDOORED)) for of in trios.values())
    assert len({each.split for each in listed}) > 1
    worked = [records[each.model_id].metrics["trigger_success"] for each in listed if "backdoor" in each.run]
    assert np.mean(worked) > 0.8


def test_every_method_is_scored_on_every_anomaly(report: Written) -> None:
    methods = [name for name in METHOD_TITLES if name not in KNOW_CARDS]
    for kind in ("backdoored", "shuffled_labels"):
        for way in ("learned", "far"):
            for method in methods:
                assert 0 <= report.figures[f"{kind}/{way}/{method}/auc"] <= 1
    assert report.figures[f"shuffled_labels/learned/{ACCURACY}/auc"] == 1
    assert report.figures["shuffled_labels/learned/statistics/auc"] > 0.6
    assert report.figures["trigger_success/backdoored"] > 0.8 > 0.5 > report.figures["trigger_success/clean"]


def test_copies_are_found(report: Written) -> None:
    for method in (*OWN, "statistics", FLATTENED):
        assert report.figures[f"copies/exact/{method}/auc"] == 1
    for method in OWN:
        for figure in ("auc", "precision", "recall"):
            assert report.figures[f"copies/disguised/{method}/{figure}"] == 1
    assert report.figures[f"copies/disguised/{FLATTENED}/auc"] < 0.9
    for kind in ("exact", "disguised"):
        assert 0.1 < report.figures[f"copies/{kind}/{CHANCE}/auc"] < 0.9
    assert report.figures[f"copies/disguised/{RESPONSES}/auc"] == 0.5


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
        assert page.locator("figcaption", has_text="linear probe, the best first").count() == 2
        shown = page.locator("tr.lead").first.locator("td[data-name='AUC']").inner_text().split()[0]
        assert shown == f"{report.figures['backdoored/learned/peace/auc']:.3f}"
    for text in ("Backdoored", "Metadata: accuracy in the card", "Disguised copies", "What to keep in mind"):
        assert text in said
    assert json.loads((report.path.parent / "figures.json").read_text()) == report.figures
    assert ("Where PEACE does not win" in said) == (report.figures["losses"] > 0)


def test_few_networks_are_nothing_to_report(lake: Lake) -> None:
    store.save(lake, Encoder(), {})
    with pytest.raises(NothingToReport):
        ANOMALY.write(lake)
    assert not (lake.root / "studies").exists()


def test_the_threshold_of_the_best_f1() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.3])
    assert threshold(scores, np.array([False, True, True, False, False])) == 0.4
    assert threshold(scores, np.array([False, True, False, False, False])) == 0.7
    assert threshold(np.zeros(3), np.array([True, False, False])) == 0


def test_what_is_far_from_clean_networks() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 8)) * 0.1 + np.eye(8)[0]
    vectors[30:] += np.eye(8)[1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = far(vectors, np.arange(40) < 20)
    assert scores[30:].min() > scores[:30].max()
    assert abs(scores[:20].mean() - scores[20:30].mean()) < 0.02


def test_probes_are_judged_on_test_runs_alone() -> None:
    random = np.random.default_rng(0)
    side, wrong = np.arange(300) // 100, np.arange(300) % 2 == 0
    sides = Sides(side == 0, side == 1, side == 2)
    vectors = random.normal(size=(300, 10)) + np.outer(wrong, np.eye(10)[0])
    scores = learned(vectors, wrong, sides)
    found = judged(scores, wrong, sides, Resampling.of([str(i) for i in range(100)], seed=0))
    assert found.auc.value == pytest.approx(roc_auc_score(wrong[sides.test], scores[sides.test]))
    assert found.auc.value > 0.65
    assert found.recall.value > 0.6


def test_copies_by_similarity() -> None:
    similarity = np.array([[0.9, 0.2, 0.1], [0.5, 0.4, 0.3], [0.8, 0.1, 0.8]])
    found = copies(similarity, Resampling.of(["a", "b", "c"], seed=0), 0.6)
    assert found.auc.value == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert found.recall.value == pytest.approx(2 / 3)
    assert found.precision.value == pytest.approx(2 / 3)
