"""The roof: what the code location holds, that it loads lightly, and what the sensor asks for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from peace_pipeline.assets.jobs import all_jobs
from peace_pipeline.assets.pages import ADDRESS, MLFLOW
from peace_pipeline.assets.reports import REPORTS
from peace_pipeline.assets.sensors import stale_batches
from peace_pipeline.definitions import Pass, defs
from peace_pipeline.encoder.pairs import read_pair_settings
from peace_pipeline.encoder.settings import NAMELESS, Settings
from peace_pipeline.encoder.store import own_version, packaged_version
from peace_pipeline.lake.tables import TABLES
from peace_pipeline.lake.tracking import DESCRIPTION
from peace_pipeline.resources import LakeResource
from peace_pipeline.resources.instance import open_instance
from tests.pipeline import NETWORKS, Workplace, environment, own, place, write_networks

__all__ = ["own", "place"]
ROOT = Path(__file__).parents[1]
GROUPS = {
    "zoo_crawl": "zoo",
    "extracted_weights": "weights",
    "layer_tensors": "weights",
    "probe_responses": "responses",
    "contrastive_pairs": "encoder",
    "peace_encoder": "encoder",
    "layer_embeddings": "embeddings",
    "network_embeddings": "embeddings",
    "output_embeddings": "embeddings",
    "lancedb_index": "index",
    "collected_garbage": "index",
    "index_atlas": "reports",
    "ablation_report": "reports",
    "lake_status": "status",
    "anomaly_report": "reports",
    "generalization_report": "reports",
    "scalability_report": "reports",
    "retrieval_report": "reports",
    "space_report": "reports",
    "provenance_report": "reports",
    "transfer_report": "reports",
    "symmetry_report": "reports",
}
LOADS = """
import sys
from peace_pipeline.definitions import defs
defs.get_repository_def().get_all_jobs()
heavy = {"torch", "lancedb", "mlflow", "torch_geometric", "lightning"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_lineage() -> None:
    specs = list(defs.resolve_all_asset_specs())
    assert {spec.key.to_user_string(): spec.group_name for spec in specs} == GROUPS
    assert all(spec.kinds and spec.description and spec.owners for spec in specs)
    assert {spec.tags["peace/started"] for spec in specs} == {"by-itself", "when-asked"}
    fresh = {spec.key.to_user_string() for spec in specs if spec.freshness_policy}
    assert fresh == {"lake_status", "collected_garbage"}


def test_every_table_shows_its_columns() -> None:
    schemas = {
        spec.key.to_user_string(): spec.metadata.get("dagster/column_schema")
        for spec in defs.resolve_all_asset_specs()
    }
    written = {table.asset for table in TABLES.values()}
    assert {name for name, schema in schemas.items() if schema} == written | {"lancedb_index"}
    columns = {column.name: column for column in schemas["layer_tensors"].columns}
    assert columns["values"].type == "list<item: float>"
    assert all(column.description for schema in schemas.values() if schema for column in schema.columns)
    assert not columns["model_id"].constraints.nullable
    assert "method" not in columns, "that is a column of the other table of the asset"


def test_checks_block_but_for_those_that_warn() -> None:
    graph = defs.resolve_asset_graph()
    warning = {key.name for key in graph.asset_check_keys if not graph.get(key).blocking}
    stands = {"nothing_is_stale", "index_is_of_the_current_encoder", "crawled_lately"}
    assert warning == stands | {f"{report.asset}_has_no_shortfalls" for report in REPORTS}
    assert len(graph.asset_check_keys) - len(warning) == 21
    assert all(graph.get(key).description for key in graph.asset_check_keys)


def test_schedules_and_sensor_run_by_default() -> None:
    repository = defs.get_repository_def()
    assert {s.name: s.default_status for s in repository.schedule_defs} == {
        "daily_crawl": dg.DefaultScheduleStatus.RUNNING,
        "daily_collection": dg.DefaultScheduleStatus.RUNNING,
        "hourly_status": dg.DefaultScheduleStatus.RUNNING,
    }
    described = [*repository.schedule_defs, *repository.sensor_defs, *all_jobs]
    assert all(each.description for each in described)
    assert {s.name: s.default_status for s in repository.sensor_defs} == {
        "stale_batches": dg.DefaultSensorStatus.RUNNING
    }


def test_code_location_loads_without_heavy_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", LOADS],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_workspace_file_loads(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT, env=environment() | {"DAGSTER_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location peace_pipeline" in done.stdout + done.stderr


def requests(place: Workplace, instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Batch → keys that one tick of the sensor asks for."""
    context = dg.build_sensor_context(instance=instance, definitions=defs)
    result = stale_batches(context, lake=LakeResource(home=str(place.lake.root)))
    assert isinstance(result, Iterator)
    return {
        str(request.partition_key): [key.to_user_string() for key in request.asset_selection or ()]
        for request in result
    }


STAGES = [
    "extracted_weights",
    "layer_tensors",
    "probe_responses",
    "layer_embeddings",
    "network_embeddings",
    "output_embeddings",
    "lancedb_index",
]


def test_sensor_asks_for_what_is_missing_and_nothing_else(own: Workplace) -> None:
    lake, instance = own.lake, open_instance(own.lake)
    assert requests(own, instance) == {}
    (batch,) = lake.batches()
    from peace_pipeline.encoder.store import current_version

    lake.embeddings("network", current_version(lake) or "", batch).unlink()
    assert requests(own, instance) == {batch: STAGES[3:]}
    lake.wirings(batch).unlink()
    assert requests(own, instance) == {batch: STAGES[1:]}


def test_sensor_finds_batches_from_before_its_first_tick(own: Workplace) -> None:
    from peace_pipeline.stages.crawl import crawl_zoo
    from peace_pipeline.zoo import ZooConfig

    write_networks(own.zoo, NETWORKS, 2)
    (batch,) = crawl_zoo(own.lake, ZooConfig.load(own.root / "peace.toml")).batches
    instance = open_instance(own.lake)
    assert batch not in instance.get_dynamic_partitions("batch")
    assert requests(own, instance) == {batch: STAGES}
    assert batch in instance.get_dynamic_partitions("batch")


def test_sensor_retries_failed_batches_after_a_while(own: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = own.lake.batches()
    own.lake.inventory(batch).unlink()
    own.lake.wirings(batch).unlink()
    instance = open_instance(own.lake)
    tags = {"dagster/partition": batch, "peace/encoder": version_of(own)}
    failed = instance.create_run_for_job(defs.resolve_job_def("embed_batch"), tags=tags)
    assert requests(own, instance) == {}, "a run of it is under way"
    instance.report_run_failed(failed)
    assert requests(own, instance) == {}, "it failed just now"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 90)
    assert requests(own, instance) == {batch: STAGES}


def version_of(place: Workplace) -> str:
    from peace_pipeline.encoder.store import current_version

    return current_version(place.lake) or ""


def test_the_lineage_shows_a_handful_of_figures_and_a_link_that_opens_the_page(place: Workplace) -> None:
    event = open_instance(place.lake).get_latest_materialization_event(dg.AssetKey("retrieval_report"))
    metadata = dict(event.asset_materialization.metadata)
    assert metadata.pop("page").url == f"{ADDRESS}/retrieval/index.html"
    assert metadata.pop("path").path == str(place.lake.reports / "retrieval" / "index.html")
    assert metadata.pop("mlflow").url.startswith(f"{MLFLOW}/#/experiments/")
    assert 3 <= len(metadata) <= 6
    assert all(isinstance(each, dg.FloatMetadataValue) for each in metadata.values())


def test_the_latest_of_each_asset_has_ten_keys_at_most_and_tables_say_their_rows(place: Workplace) -> None:
    instance = open_instance(place.lake)
    counted = {}
    for key in defs.resolve_asset_graph().get_all_asset_keys():
        if event := instance.get_latest_materialization_event(key):
            metadata = event.asset_materialization.metadata
            shown = [name for name in metadata if not name.startswith("dagster/")]
            assert len(shown) <= 10, key
            counted[key.to_user_string()] = metadata.get("dagster/row_count")
    (batch,) = place.lake.batches()
    rows = pq.read_metadata(place.lake.layers(batch)).num_rows
    assert counted["layer_tensors"].value == rows > NETWORKS
    assert counted["network_embeddings"].value == counted["lancedb_index"].value == NETWORKS


def test_what_a_report_says_against_peace_warns_and_stops_nothing(own: Workplace) -> None:
    about = own.lake.reports / "retrieval" / "about.json"
    key = dg.AssetCheckKey(dg.AssetKey("retrieval_report"), "retrieval_report_has_no_shortfalls")
    job = dg.define_asset_job("check", dg.AssetSelection.checks(key))
    peace = Pass(dg.Definitions.merge(defs, dg.Definitions(jobs=[job])), own.lake)
    for missed, passed in ((["cnn: permutation 3e-01 in float32"], False), ([], True)):
        said = json.loads(about.read_text()) | {"missed": missed, "losses": []}
        about.write_text(json.dumps(said))
        (found,) = peace.materialize("check").get_asset_check_evaluations()
        assert (found.passed, found.severity) == (passed, dg.AssetCheckSeverity.WARN)
        assert found.metadata["listed"].value == ("\n".join(f"- {line}" for line in missed) or "none")


def test_mlflow_has_the_headline_of_a_report_as_metrics_and_the_rest_as_files(place: Workplace) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(place.lake.mlflow_uri)
    version = version_of(place)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("reports").experiment_id], f"tags.encoder_version = '{version}'"
    )
    assert run.info.run_name == f"retrieval {version}"
    assert 3 <= len(run.data.metrics) <= 8
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"index.html", "index.md", "figures.json", "figures-table.json"}
    assert run.data.tags[DESCRIPTION]
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(place.lake.root)
    (training,) = client.search_runs([client.get_experiment_by_name("encoder").experiment_id])
    assert training.info.run_name.endswith(version)
    assert training.data.tags[DESCRIPTION].strip().startswith("# PEACE encoder")


def test_a_demo_reports_on_the_packaged_encoder_and_then_on_its_own(own: Workplace) -> None:
    (own.lake.encoders / "current").unlink()
    demo = Pass(defs, own.lake, str(own.root / "peace.toml")).demo(Settings(epochs=1, start="pretrained"))
    assert demo.trained
    assert list(demo.figures) == [packaged_version(), demo.encoder_version]
    assert demo.encoder_version == own_version(own.lake)
    assert read_pair_settings(own.lake).without == [NAMELESS]
    for figures in demo.figures.values():
        assert {"same_task/map", "same_function/recall_at_1"} <= figures.keys()
    again = Pass(defs, own.lake, str(own.root / "peace.toml")).demo()
    assert again.idle
    assert again.figures == {}


def test_a_check_that_fails_stops_the_pass(own: Workplace) -> None:
    from peace_pipeline.assets.incremental import PassFailed

    check = dg.AssetCheckKey(dg.AssetKey("zoo_crawl"), "model_records_contract")
    job = dg.define_asset_job("check", dg.AssetSelection.checks(check))
    checked = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    peace = Pass(checked, own.lake, str(own.root / "peace.toml"))
    (before,) = own.lake.batches()
    write_networks(own.zoo, NETWORKS, 1)
    peace.materialize("crawl")
    break_contract(own.lake.zoo(before))
    peace.materialize("check")  # what earlier crawls stored is not looked at again
    break_contract(own.lake.zoo(own.lake.batches()[-1]))
    with pytest.raises(PassFailed, match="model_records_contract"):
        peace.materialize("check")


def break_contract(path: Path) -> None:
    """Give the first record of a batch a status that does not exist."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    statuses = ["unheard-of", *table["status"].to_pylist()[1:]]
    position = table.schema.get_field_index("status")
    pq.write_table(table.set_column(position, table.schema.field("status"), pa.array(statuses)), path)
