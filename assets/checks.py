"""Checks. Blocking: every table against its contract, the index against its keys, encoder and reports for wholeness.
Warning: what a report says against PEACE."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from peace_pipeline.assets.pages import listed
from peace_pipeline.assets.reports import NOT_WRITTEN, REPORTS
from peace_pipeline.evaluation.reports import Report
from peace_pipeline.lake.tables import MODEL_RECORDS, PAIRS, TABLES, Table
from peace_pipeline.resources import LakeResource


def _result(table: Table, paths: Iterable[Path]) -> dg.AssetCheckResult:
    from peace_pipeline.lake.violations import violations

    found = [f"{path.name}: {line}" for path in paths for line in violations(table, path)]
    return dg.AssetCheckResult(passed=not found, metadata={"violations": listed(found)})


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
        return dg.AssetCheckResult(passed=not faults, metadata={"faults": listed(faults)})

    return check


def promise_check(report: Report) -> dg.AssetChecksDefinition:
    """What the report says against PEACE warns: nobody reads a page that is green."""

    @dg.asset_check(
        asset=report.asset,
        name=f"{report.asset}_has_no_shortfalls",
        description="Every promise that the report measures is kept, and no other method does better. Warns with "
        "those that aren't, and where one does.",
    )
    def check(lake: LakeResource) -> dg.AssetCheckResult:
        found = report.shortfalls(lake.open())
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(found),
            metadata={"shortfalls": len(found), "listed": listed(found)},
        )

    return check


@dg.asset_check(asset="peace_encoder", blocking=True)
def encoder_is_whole(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """The encoder that was trained last is the current one, can be loaded, and all its weights are finite."""
    from peace_pipeline.encoder.store import load

    trained = _latest_metadata(context.instance, "peace_encoder").get("encoder_version")
    version, encoder = load(lake.open())
    faults = [] if version == trained else [f"the current encoder is {version}, not {trained}"]
    state = encoder.state_dict()
    faults += [f"{name} is not finite" for name, value in state.items() if not bool(value.isfinite().all())]
    return dg.AssetCheckResult(passed=not faults, metadata={"faults": listed(faults)})


def all_checks() -> Iterator[dg.AssetChecksDefinition]:
    """Every check of the DAG."""
    yield model_records_contract
    yield contrastive_pairs_contract
    yield index_keys_are_unique
    yield from (_batch_check(table) for table in TABLES.values() if table.is_by_batch)
    yield encoder_is_whole
    yield from map(report_check, REPORTS)
    yield from map(promise_check, REPORTS)
