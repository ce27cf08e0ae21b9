"""Blocking checks: every table of the lake against its contract, the index against its keys, reports for wholeness."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from peace_pipeline.assets.reports import NOT_WRITTEN, REPORTS
from peace_pipeline.evaluation.reports import Report
from peace_pipeline.lake.tables import MODEL_RECORDS, PAIRS, TABLES, Table
from peace_pipeline.resources import LakeResource


def _result(table: Table, paths: Iterable[Path]) -> dg.AssetCheckResult:
    from peace_pipeline.lake.violations import violations

    found = [f"{path.name}: {line}" for path in paths for line in violations(table, path)]
    return dg.AssetCheckResult(passed=not found, metadata={"violations": dg.MetadataValue.json(found)})


def _latest_metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    """What the asset's latest materialization says; empty where there is none."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    found = event.asset_materialization if event else None
    return {name: value.value for name, value in found.metadata.items()} if found else {}


def _batch_check(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.asset,
        name=f"{table.name}_contract",
        blocking=True,
        description=f"The batch's {table.name.replace('_', ' ')} table fits its pandera schema.",
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        from peace_pipeline.encoder.store import current_version

        home = lake.open()
        version = current_version(home) or ""
        return _result(table, [table.under(home.root, batch=context.partition_key, encoder_version=version)])

    return check


@dg.asset_check(asset=MODEL_RECORDS.asset, blocking=True)
def model_records_contract(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """The model records of the batches that the last crawl stored fit their pandera schema."""
    batches = _latest_metadata(context.instance, MODEL_RECORDS.asset).get("batches", [])
    return _result(MODEL_RECORDS, map(lake.open().zoo, batches))


@dg.asset_check(asset=PAIRS.asset, blocking=True)
def contrastive_pairs_contract(lake: LakeResource) -> dg.AssetCheckResult:
    """The pair table fits its pandera schema."""
    return _result(PAIRS, [lake.open().pairs])


@dg.asset_check(asset="lancedb_index", blocking=True)
def index_keys_are_unique(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """No model of the batch is in the index twice, and all its rows are of one encoder version."""
    from peace_pipeline.index.tables import indexed_models
    from peace_pipeline.zoo.current import Current

    home = lake.open()
    newest = Current(home).newest(context.partition_key, ["model_id"])
    rows = indexed_models(home, newest["model_id"].to_pylist())
    ids, versions = rows["model_id"].to_pylist(), set(rows["encoder_version"].to_pylist())
    return dg.AssetCheckResult(
        passed=len(ids) == len(set(ids)) and len(versions) <= 1,
        metadata={"models": len(ids), "encoder versions": dg.MetadataValue.json(sorted(versions))},
    )


def report_check(report: Report) -> dg.AssetChecksDefinition:
    """What was written is whole: the page and its figures are there, and every figure is a number."""

    @dg.asset_check(
        asset=report.asset,
        name=f"{report.asset}_is_whole",
        blocking=True,
        description="The page and its figures are there, and every figure is finite.",
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        said = _latest_metadata(context.instance, report.asset)
        faults = [] if NOT_WRITTEN in said else report.faults(lake.open())
        return dg.AssetCheckResult(passed=not faults, metadata={"faults": dg.MetadataValue.json(faults)})

    return check


def all_checks() -> Iterator[dg.AssetChecksDefinition]:
    """Every check of the DAG."""
    yield model_records_contract
    yield contrastive_pairs_contract
    yield index_keys_are_unique
    yield from (_batch_check(table) for table in TABLES.values() if table.is_by_batch)
    yield from map(report_check, REPORTS)
