"""The whole report on a small lake with an untrained encoder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports, written_reports
from peace_pipeline.evaluation.retrieval.results import Sample
from peace_pipeline.evaluation.retrieval.study import score_methods
from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES, VERSION
from peace_pipeline.responses.table import SCHEMA, answer_row
from peace_pipeline.stages.embed import NETWORK, embed_batch
from peace_pipeline.stages.outcome import Outcome
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]
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


def test_every_grade_has_its_figures(report: Written) -> None:
    for scope in ("within_architecture", "across_architectures", "disguised", "seen_tasks"):
        assert f"peace/same_task/{scope}/map" in report.figures
    assert "peace/same_task/unseen_tasks/map" not in report.figures
    assert not [name for name in report.figures if "/related_task/" in name or "/same_profile/" in name]
    assert (
        report.figures["words/description/dataset/map"] > report.figures["by_chance/description/dataset/map"]
    )
    for figure in ("same_task/map", "same_function/recall_at_1", "same_task/ndcg"):
        low, mean, high = (report.figures[f"peace/{figure}{end}"] for end in ("_low_runs", "", "_high_runs"))
        assert low <= mean <= high
    assert 0 <= report.figures["chance/same_task/lead_p"] <= 1
    for text in ("bm25", "bm25_blanked"):
        assert report.figures[f"{text}/same_task/disguised/map"] == report.figures[f"{text}/same_task/map"]


def test_cards_and_vectors_are_joined(report: Written) -> None:
    figures = report.figures
    low, high = sorted(figures[f"{name}/same_task/map"] for name in ("bm25", "peace"))
    assert low < figures["hybrid/same_task/map"] <= high + 0.05


def test_the_page_stands_alone(report: Written, small_lake: Lake) -> None:
    page = report.path.read_text()
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", own)
    assert page.count("plotly.js v") <= 2
    assert json.loads((report.path.parent / "figures.json").read_text()) == report.figures
    assert sorted(path.name for path in report.path.parent.iterdir()) == [
        "about.json",
        "figures.json",
        "index.html",
        "index.md",
    ]
    assert [each["path"] for each in written_reports(small_lake)] == [str(report.path)]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_in_a_browser(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        page.get_by_text("Every metric of every method").click()
        few, all_queries = page.locator("tr.lead").nth(0), page.locator("#section-1 tr.lead").first
        for row, column, figure in (
            (few, "Same task", "same_task/map"),
            (few, "In disguise", "same_task/disguised/map"),
            (few, "Same function", "same_function/recall_at_1"),
            (all_queries, "MAP", "same_task/map"),
            (all_queries, "P@1", "same_task/precision_at_1"),
            (all_queries, "R@10", "same_task/recall_at_10"),
            (all_queries, "nDCG", "same_task/ndcg"),
        ):
            said = row.locator(f"td[data-name='{column}']").inner_text().split()[0]
            assert said == f"{report.figures[f'peace/{figure}']:.3f}"
        folded = page.locator("details", has_text="Networks of other architectures alone")
        assert not folded.locator("table").is_visible()
        folded.locator("summary").press("Enter")
        said = folded.locator("tr.lead td[data-name='MAP']").inner_text().split()[0]
        assert said == f"{report.figures['peace/same_task/across_architectures/map']:.3f}"
        assert (
            "BM25 knows no numbers" in page.locator("section", has_text="Queries in words").last.inner_text()
        )
        assert page.get_by_text("peace report retrieval --write").is_visible()
        page.get_by_role("link", name="All reports").click()
        page.get_by_role("link", name="Retrieval on held-out training runs").click()
        page.locator("figure").nth(3).wait_for()


def test_figures_are_in_mlflow(report: Written, small_lake: Lake) -> None:
    import mlflow

    client = mlflow.MlflowClient(small_lake.mlflow_uri)
    experiment = client.get_experiment_by_name("reports")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["peace/same_task/map"] == pytest.approx(report.figures["peace/same_task/map"])


def test_of_a_large_zoo_a_sample_is_measured(report: Written, small_lake: Lake, tmp_path: Path) -> None:
    lake = Lake.open(shutil.copytree(small_lake.root, tmp_path / "home"))
    once, again, other = (
        RETRIEVAL.write(lake, most=Sample(queries=5, gallery=9, training=7), seed=seed) for seed in (0, 0, 1)
    )
    assert once.figures["population/test_networks"] == 9
    assert once.figures["population/test_queries"] == 5
    assert once.figures["population/networks"] == report.figures["population/networks"] == 60
    page = once.path.read_text()
    assert "at most 9 test networks, of which at most 5 ask, and 7 training networks" in page
    assert _measured(once) == _measured(again) != _measured(other)


def _measured(written: Written) -> dict[str, float]:
    return {name: value for name, value in written.figures.items() if "per_second" not in name}


@pytest.fixture(scope="module")
def answered(small_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The small lake with responses that tell the task, of all networks but those of one seed."""
    lake = Lake.open(shutil.copytree(small_lake.root, tmp_path_factory.mktemp("answered") / "home"))
    torch.manual_seed(0)
    store.save(lake, Encoder(), {})
    of_task = np.random.default_rng(0).normal(size=(2, PROBES, 4)).astype(np.float32)
    for batch in lake.batches():
        rows = pq.read_table(lake.wirings(batch), columns=["model_id", "revision"]).to_pylist()
        written = []
        for row in rows:
            told = Response(row["model_id"], NUMBERS, of_task[int("dog" in row["model_id"])], VERSION, "test")
            was_run = not row["model_id"].endswith("s0")
            outcome = Outcome(**row, reason=None if was_run else "not here").as_row()
            written.append(outcome | (answer_row(told) if was_run else {}))
        write_parquet(pa.Table.from_pylist(written, schema=SCHEMA), lake.responses(batch))
        embed_batch(lake, batch)
    return lake


def test_networks_are_embedded_as_the_index_holds_them(answered: Lake) -> None:
    found = score_methods(answered)
    stored = {}
    for batch in answered.batches():
        rows = pq.read_table(answered.embeddings(NETWORK, found.encoder_version, batch)).to_pylist()
        stored |= {row["model_id"]: row["vector"] for row in rows}
    expected = np.array([stored[member.listing.model_id] for member in found.members])
    assert np.allclose(found.vectors, expected, atol=1e-5)


def test_what_responses_tell_stands_beside_what_weights_tell(answered: Lake, report: Written) -> None:
    figures, silent = score_methods(answered).figures(), report.figures
    known = "raw_responses/same_task/map"
    assert silent["population/test_networks_run"] == 0 < figures["population/test_networks_run"]
    assert figures[known] > silent[known] + 0.2
    assert figures["peace/same_task/map"] > figures["peace_weights/same_task/map"] + 0.1
    for name in ("same_task/map", "same_task/cnn/map"):
        assert figures[f"peace_weights/{name}"] == silent[f"peace/{name}"] == silent[f"peace_weights/{name}"]
    assert "peace/same_profile/ndcg" in figures
    assert figures["raw_responses/same_profile/map"] > figures["statistics/same_profile/map"]
    assert figures["peace/same_function/recall_at_1"] == silent["peace/same_function/recall_at_1"]
    assert not [name for name in figures if name.startswith("raw_responses/same_function")]


def test_the_page_shows_both_senses_and_the_raw_responses(answered: Lake) -> None:
    text = RETRIEVAL.write(answered, most=Sample(queries=5, gallery=9, training=7)).path.read_text()
    assert all(f">{title}<" in text for title in ("PEACE", "PEACE, weights alone", "Raw responses"))


def test_a_lake_without_networks(tmp_path: object) -> None:
    lake = Lake.open(str(tmp_path))
    store.save(lake, Encoder(), {})
    with pytest.raises(NothingToReport):
        RETRIEVAL.write(lake)
    assert written_reports(lake) == []
