"""The provenance report on a small trained zoo, and the thresholds that it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from peace_pipeline.comparison.measuring import measure
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.evaluation.derivatives import Specimen, disguised, pruned, specimen, trained_on
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports, written_reports
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.listing import TEST, TRAIN, listings
from peace_pipeline.zoo.trained import build
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]
PROVENANCE = all_reports()["provenance"]


@pytest.fixture(scope="module")
def report(trained: Lake) -> Written:
    return PROVENANCE.write(trained, bases={TRAIN: 2, TEST: 2})


@pytest.fixture
def network(trained: Lake) -> Specimen:
    listed = {each.model_id: each for each in listings(trained)}
    return specimen(Current(trained).records(), listed["trained:brief/digits-mlp-000-s0"])


def test_pairs_of_test_runs_are_judged(report: Written) -> None:
    figures = report.figures
    assert figures["pairs"] > figures["test_pairs"] > 30
    assert figures["error"] < 0.1
    assert figures["plain_cosine/error_disguised"] > 0.4
    counted = sum(value for name, value in figures.items() if name.startswith("confusion/"))
    assert counted == figures["test_pairs"]
    for kind in ("itself", "bfloat16_disguised", "80_pruned", "trained_further_disguised", "another_recipe"):
        assert f"error/{kind}" in figures


def test_its_thresholds_are_those_in_use(report: Written, trained: Lake, tmp_path: Path) -> None:
    assert Thresholds.of(trained).derived == report.figures["derived"]
    assert Thresholds.of(trained).tolerance == report.figures["tolerance"]
    assert Thresholds.of(Lake.open(tmp_path)) != Thresholds.of(trained)


def test_the_page(report: Written, trained: Lake) -> None:
    page = report.path.read_text()
    for text in ("Kinds of pairs", "80% pruned, disguised", "another recipe", "unrelated"):
        assert text in page
    assert json.loads((report.path.parent / "figures.json").read_text()) == report.figures
    assert "provenance" in [each["name"] for each in written_reports(trained)]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_in_a_browser(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        for truth in ("derived", "unrelated"):
            row = (
                page.locator("tbody tr")
                .filter(has=page.get_by_role("rowheader", name=truth, exact=True))
                .first
            )
            for verdict in ("derived", "unrelated"):
                said = row.locator(f"td[data-name='{verdict}']").inner_text()
                assert float(said) == report.figures[f"confusion/{truth}/{verdict}"]


def test_a_lake_without_a_trained_zoo(lake: Lake) -> None:
    with pytest.raises(NothingToReport):
        PROVENANCE.write(lake)


def outputs(made: Specimen) -> torch.Tensor:
    module = build(made.config).eval()
    module.load_state_dict(made.state)
    x = torch.randn(8, *made.config["input_shape"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return module(x)


def test_variants_are_what_they_are_called(network: Specimen) -> None:
    torch.testing.assert_close(outputs(disguised(network, 1)), outputs(network), rtol=1e-3, atol=1e-3)
    assert not torch.equal(disguised(network, 1).state["layers.0.weight"], network.state["layers.0.weight"])
    zeros = (pruned(network, 0.5).state["layers.0.weight"] == 0).float().mean()
    assert 0.49 < float(zeros) < 0.51
    further = trained_on(network, network.task, rate=0.1, steps=0.2, seed=0)
    assert not torch.equal(outputs(further), outputs(network))
    assert measure(network.network(), further.network(), Thresholds(0, 0))[0].similarity > 0.8
