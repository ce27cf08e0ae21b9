"""One incremental pass over the lineage, in this process, recorded in the lake's Dagster instance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from assets.automation import stages_from
from assets.partitions import register
from peace_pipeline.lake import Lake
from resources.instance import bury_dead_runs, open_instance, process_tag


class PassFailed(Exception):
    """A step of a pass failed, with its reason."""


@dataclass
class PassSummary:
    """What a pass did. ``embedded`` counts networks, ``seconds`` is wall time."""

    new: int = 0
    changed: int = 0
    deleted: int = 0
    embedded: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    trained: bool = False
    encoder_version: str | None = None
    seconds: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.new or self.changed or self.deleted or self.embedded or self.trained)

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


class Pass:
    """Runs jobs of ``defs`` for one lake."""

    def __init__(self, defs: dg.Definitions, lake: Lake, config: str = "") -> None:
        self.lake = lake
        self.defs = defs
        self.resources = {"home": str(lake.root)}, {"config": config}
        self.instance = open_instance(lake)

    def materialize(
        self,
        job: str,
        *,
        partition: str | None = None,
        keys: Iterable[dg.AssetKey] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job in this process.

        Raises:
            PassFailed: with the reason of the first step or check that failed.
        """
        lake, zoo = self.resources
        run_config = {
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            "resources": {"lake": {"config": lake}, "zoo": {"config": zoo}},
            **({"ops": config} if config else {}),
        }
        result = self.defs.resolve_job_def(job).execute_in_process(
            run_config=run_config,
            instance=self.instance,
            partition_key=partition,
            asset_selection=list(keys) if keys is not None else None,
            tags=process_tag(),
            raise_on_error=False,
        )
        if not result.success:
            raise PassFailed(_reason(result))
        return result

    def run(self) -> PassSummary:
        """Crawl, bring every stale batch up to date, and train if there is no encoder yet.

        Raises:
            PassFailed: where a step failed for good; the batches before it are done.
        """
        from peace_pipeline.encoder.store import current_version
        from peace_pipeline.encoder.training import MINIMUM_NETWORKS
        from peace_pipeline.zoo.catalog import networks

        started = time.monotonic()
        summary = PassSummary()
        bury_dead_runs(self.instance)
        self._crawl(summary)
        register(self.instance, self.lake)
        if current_version(self.lake) is None:
            self._bring_up_to_date(summary)
            if len(networks(self.lake)) >= MINIMUM_NETWORKS:
                self.materialize("train")
                summary.trained = True
        self._bring_up_to_date(summary)
        if summary.trained:
            self.materialize("reports")
        summary.encoder_version = current_version(self.lake)
        summary.seconds = round(time.monotonic() - started, 2)
        return summary

    def _crawl(self, summary: PassSummary) -> None:
        for event in self.materialize("crawl").get_asset_materialization_events():
            metadata = event.materialization.metadata
            for name in ("new", "changed", "deleted"):
                setattr(summary, name, metadata[name].value)
            summary.skipped += metadata["skipped"].value

    def _bring_up_to_date(self, summary: PassSummary) -> None:
        """Run every stale batch from its first missing stage on."""
        from peace_pipeline.encoder.store import current_version
        from peace_pipeline.index.staleness import EXTRACTION, LAYERS, stale_batches
        from peace_pipeline.symmetry.extraction import skipped_models

        has_encoder = current_version(self.lake) is not None
        for batch, stage in stale_batches(self.lake).items():
            keys = stages_from(stage, has_encoder=has_encoder)
            result = self.materialize("embed_batch", partition=batch, keys=keys)
            for event in result.get_asset_materialization_events():
                if event.asset_key == dg.AssetKey("network_embeddings"):
                    summary.embedded += event.materialization.metadata["networks"].value
            if stage in (EXTRACTION, LAYERS):
                summary.skipped += skipped_models(self.lake, batch)


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error and error.cause:
                error = error.cause
            return f"{event.step_key}: {error.message.strip().splitlines()[-1] if error else 'failed'}"
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    return f"asset check failed: {', '.join(failed)}" if failed else "the run failed"
