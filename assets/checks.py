"""Blocking checks: every table of the lake against its contract, and the index against its keys."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import dagster as dg

from peace_pipeline.lake import Lake
from peace_pipeline.resources import LakeResource

_BATCH_TABLES: dict[str, tuple[str, Callable[[Lake, str], Iterable[Path]]]] = {
    "extracted_weights": ("extracted_weights", lambda lake, batch: [lake.inventory(batch)]),
    "layer_tensors": ("layer_tensors", lambda lake, batch: [lake.layers(batch)]),
    "wirings": ("layer_tensors", lambda lake, batch: [lake.wirings(batch)]),
    "layer_embeddings": ("layer_embeddings", lambda lake, batch: [_embeddings(lake, "layer", batch)]),
    "network_embeddings": ("network_embeddings", lambda lake, batch: [_embeddings(lake, "network", batch)]),
}


def _embeddings(lake: Lake, level: str, batch: str) -> Path:
    from peace_pipeline.encoder.store import current_version

    return lake.embeddings(level, current_version(lake) or "", batch)


def _result(contract: str, paths: Iterable[Path]) -> dg.AssetCheckResult:
    from peace_pipeline.lake.contracts import violations

    found = [f"{path.name}: {line}" for path in paths for line in violations(contract, path)]
    return dg.AssetCheckResult(passed=not found, metadata={"violations": dg.MetadataValue.json(found)})


def _batch_check(contract: str) -> dg.AssetChecksDefinition:
    asset, paths = _BATCH_TABLES[contract]

    @dg.asset_check(
        asset=asset,
        name=f"{contract}_contract",
        blocking=True,
        description=f"The batch's {contract.replace('_', ' ')} table fits its pandera schema.",
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        return _result(contract, paths(lake.open(), context.partition_key))

    return check


@dg.asset_check(asset="zoo_crawl", blocking=True)
def model_records_contract(lake: LakeResource) -> dg.AssetCheckResult:
    """The model records of every batch fit their pandera schema."""
    home = lake.open()
    return _result("zoo_crawl", map(home.zoo, home.batches()))


@dg.asset_check(asset="contrastive_pairs", blocking=True)
def contrastive_pairs_contract(lake: LakeResource) -> dg.AssetCheckResult:
    """The pair table fits its pandera schema."""
    return _result("contrastive_pairs", [lake.open().pairs])


@dg.asset_check(asset="lancedb_index", blocking=True)
def index_keys_are_unique(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """No model is in the index twice, and all rows are of one encoder version."""
    from peace_pipeline.index.tables import indexed_models

    rows = indexed_models(lake.open())
    ids, versions = rows["model_id"].to_pylist(), set(rows["encoder_version"].to_pylist())
    return dg.AssetCheckResult(
        passed=len(ids) == len(set(ids)) and len(versions) <= 1,
        metadata={"models": len(ids), "encoder versions": dg.MetadataValue.json(sorted(versions))},
    )


def all_checks() -> Iterator[dg.AssetChecksDefinition]:
    """Every check of the DAG."""
    yield model_records_contract
    yield contrastive_pairs_contract
    yield index_keys_are_unique
    yield from map(_batch_check, _BATCH_TABLES)
