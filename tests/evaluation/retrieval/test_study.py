"""The whole report on a small lake with an untrained encoder."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.population import Population
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports, written_reports
from peace_pipeline.evaluation.retrieval.grades import relevance
from peace_pipeline.lake import Lake

from ..conftest import listed, networks_of

RETRIEVAL = all_reports()["retrieval"]


@pytest.fixture(scope="module")
def report(small_lake: Lake) -> Written:
    torch.manual_seed(0)
    store.save(small_lake, Encoder(), {})
    steps: list[tuple[int, int]] = []
    found = RETRIEVAL.write(small_lake, progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    return found


def test_disguised_copies_are_found(report: Written) -> None:
    for scope in ("", "mlp/", "cnn/", "wiring_chain/"):
        assert report.figures[f"peace/same_function/{scope}recall_at_1"] == 1.0
    assert report.figures["flattened/same_function/recall_at_1"] < 0.5


def test_every_method_is_scored_with_its_interval(report: Written) -> None:
    for method in ("peace", *all_baselines()):
        low, mean, high = (report.figures[f"{method}/same_task/map{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= mean <= high <= 1
        assert f"{method}/same_task/cnn/map" in report.figures
    assert report.figures["bm25/same_task/map"] > 0.9
    assert report.figures["bm25_blanked/same_task/map"] < 0.7


def test_the_page_stands_alone(report: Written, small_lake: Lake) -> None:
    page = report.path.read_text()
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", own)
    assert page.count("plotly.js v") <= 2
    assert json.loads((report.path.parent / "figures.json").read_text()) == report.figures
    assert sorted(path.name for path in report.path.parent.iterdir()) == ["figures.json", "index.html"]
    assert [each["path"] for each in written_reports(small_lake)] == [str(report.path)]


def test_figures_are_in_mlflow(report: Written, small_lake: Lake) -> None:
    import mlflow

    client = mlflow.MlflowClient(small_lake.mlflow_uri)
    experiment = client.get_experiment_by_name("reports")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["peace/same_task/map"] == pytest.approx(report.figures["peace/same_task/map"])


def test_a_lake_without_encoder_or_networks(tmp_path: object) -> None:
    lake = Lake.open(str(tmp_path))
    with pytest.raises(store.NoEncoder):
        RETRIEVAL.write(lake)
    store.save(lake, Encoder(), {})
    with pytest.raises(NothingToReport):
        RETRIEVAL.write(lake)
    assert written_reports(lake) == []


def test_relevance_by_hand() -> None:
    networks = networks_of("mlp", 5)
    population = Population.of([
        listed(networks[0], task="a", run="1"),
        listed(networks[1], task="a", run="1"),
        listed(networks[2], task="a", run="2"),
        listed(networks[3], task="a", run="3", shuffled_labels=True),
        listed(networks[4], task="b", run="4"),
    ])  # fmt: skip
    relevant, excluded = relevance(population.members)
    assert np.argwhere(relevant & ~excluded).tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
    assert np.argwhere(excluded & ~np.eye(5, dtype=bool)).tolist() == [[0, 1], [1, 0]]
