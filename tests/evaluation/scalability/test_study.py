"""The report on scalability, of a few sizes, on a small lake with an untrained encoder."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.scalability.results import Sizes
from peace_pipeline.lake import Lake
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.index import update_index
from peace_pipeline.zoo.listing import listings
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]

SCALABILITY = all_reports()["scalability"]
FEW = Sizes(weights=(300, 3000), networks=(8, 16), rows=(200, 1000), queries=12)


@pytest.fixture(scope="module")
def home(small_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The small lake with embeddings and an index."""
    torch.manual_seed(0)
    lake = Lake.open(shutil.copytree(small_lake.root, tmp_path_factory.mktemp("scalability") / "home"))
    store.save(lake, Encoder(), {})
    for batch in sorted({listing.batch for listing in listings(lake)}):
        embed_batch(lake, batch)
        update_index(lake, batch)
    return lake


@pytest.fixture(scope="module")
def report(home: Lake) -> Written:
    return SCALABILITY.write(home, sizes=FEW)


def test_every_size_is_measured(report: Written) -> None:
    figures = report.figures
    for method in ("peace_weights", "features", "canonical_features", "values"):
        for size in FEW.weights:
            assert figures[f"by_size/{method}/{size}/seconds"] > 0
            assert figures[f"by_size/{method}/{size}/memory"] >= 0
    for count in FEW.networks:
        assert figures[f"by_number/{count}/seconds"] > 0
    for rows in FEW.rows:
        assert figures[f"by_rows/{rows}/row_bytes"] > rows * 4 * 512
        assert figures[f"by_rows/{rows}/index_bytes"] > 0
        for kind in ("exact", "indexed"):
            quantiles = [figures[f"by_rows/{rows}/{kind}/{name}"] for name in ("p50", "p95", "p99")]
            assert quantiles == sorted(quantiles)
            assert figures[f"by_rows/{rows}/{kind}/count"] == FEW.queries


def test_searches_find_the_nearest(report: Written) -> None:
    for rows in FEW.rows:
        assert report.figures[f"by_rows/{rows}/exact/recall"] == 1
        assert report.figures[f"by_rows/{rows}/indexed/recall"] > 0.9


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
    for text in ("2,000,000 models, extrapolated", "every row compared", "What to keep in mind"):
        assert text in said
    assert json.loads((report.path.parent / "figures.json").read_text()) == report.figures


def test_a_lake_without_an_index_is_nothing_to_report(lake: Lake) -> None:
    store.save(lake, Encoder(), {})
    with pytest.raises(NothingToReport, match="index"):
        SCALABILITY.write(lake, sizes=FEW)
