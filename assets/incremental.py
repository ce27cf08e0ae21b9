"""One incremental pass over the lineage, in this process, recorded in the lake's Dagster instance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, field
from io import StringIO
from typing import Any

import dagster as dg

from peace_pipeline.assets.forgetting import forget_job, leave_out
from peace_pipeline.assets.jobs import keys_from
from peace_pipeline.assets.partitions import register
from peace_pipeline.assets.reports import NOT_WRITTEN, REPORTS, after_training_job
from peace_pipeline.assets.status import status_job
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.evaluation.reports import all_reports
from peace_pipeline.interrupts import raise_if_received
from peace_pipeline.lake import Lake
from peace_pipeline.resources import ZooResource
from peace_pipeline.resources.instance import (
    bury_dead_runs,
    canceled_by_interrupts,
    open_instance,
    process_tags,
)
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.batches import read_records, skipped_records

_PUBLIC = ("new", "changed", "deleted", "embedded", "skipped", "trained", "encoder_version", "seconds")


class PassFailed(Exception):
    """A step of a pass failed, with its reason."""


class NotWritten(PassFailed):
    """The lake has nothing that a page could be about."""


@dataclass
class PassSummary:
    """What a pass did. ``embedded`` counts networks, ``batches`` those brought up to date, ``seconds`` is wall time.

    ``figures`` are what the reports found of the encoders of a demo, by version and name.
    """

    new: int = 0
    changed: int = 0
    deleted: int = 0
    embedded: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    trained: bool = False
    reported: bool = False
    batches: int = 0
    encoder_version: str | None = None
    seconds: float = 0.0
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.new or self.changed or self.deleted or self.batches or self.trained or self.reported)

    def as_dict(self) -> dict[str, Any]:
        """The fields that programs rely on, as a JSON object."""
        fields = asdict(self)
        return {name: fields[name] for name in _PUBLIC}


class Pass:
    """Runs jobs of ``defs`` for one lake."""

    def __init__(self, defs: dg.Definitions, lake: Lake, config: str = "", responses: str = "") -> None:
        self.lake = lake
        self.defs = defs
        if place := ZooConfig.place(lake, config):
            config = str(place.absolute())  # the UI, which executes runs again, may work in another folder
        self.resources = {"home": str(lake.root)}, {"config": config, "responses": responses}
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
            KeyboardInterrupt: where it was interrupted.
        """
        lake, zoo = self.resources
        run_config = {
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            "resources": {"lake": {"config": lake}, "zoo": {"config": zoo}},
            **({"ops": config} if config else {}),
        }
        # Dagster tells on standard error what the result, or an exception, says too
        with canceled_by_interrupts(self.instance), redirect_stderr(StringIO()):
            result = self.defs.resolve_job_def(job).execute_in_process(
                run_config=run_config,
                instance=self.instance,
                partition_key=partition,
                asset_selection=list(keys) if keys is not None else None,
                tags=process_tags(),
                raise_on_error=False,
            )
            raise_if_received()
        if not result.success:
            raise PassFailed(_reason(result))
        return result

    def run(self) -> PassSummary:
        """Crawl, bring every stale batch up to date, report on an encoder that was trained since.

        Raises:
            PassFailed: where a step failed for good; everything else is done.
        """
        from peace_pipeline.encoder.store import current_version

        started = time.monotonic()
        summary = PassSummary()
        bury_dead_runs(self.instance)
        failed = self._crawl(summary)
        register(self.instance, self.lake)
        self._bring_up_to_date(summary)
        if self._reports_are_stale():
            self.materialize(after_training_job.name)
            summary.reported = True
        if failed:
            raise failed
        summary.encoder_version = current_version(self.lake)
        summary.seconds = round(time.monotonic() - started, 2)
        return summary

    def demo(self, settings: Settings | None = None) -> PassSummary:
        """A pass; where the lake still uses the encoder that the package ships, it reports on that one, trains the
        lake's own from it (or as the ``settings`` say), embeds every network anew and reports again. It trains
        on the networks whose cards name a task, where these are most.

        Raises:
            PassFailed: where a step failed for good.
        """
        from peace_pipeline.encoder.members import lacking, named_members
        from peace_pipeline.encoder.store import own_version, packaged_version
        from peace_pipeline.stages.train import PRETRAINED

        started = time.monotonic()
        summary = self.run()
        shipped = packaged_version()
        if shipped and own_version(self.lake) is None and not lacking(self.lake):
            summary.figures[shipped] = self._report()
            learned_from = named_members(self.lake)
            trained = self.train(settings or Settings(start=PRETRAINED), learned_from)["encoder_version"]
            self._bring_up_to_date(PassSummary())
            summary.figures[trained] = self._report()
            summary.trained, summary.reported, summary.encoder_version = True, True, trained
        summary.seconds = round(time.monotonic() - started, 2)
        return summary

    def _report(self) -> dict[str, float]:
        """Write what a new encoder changes; what is found of the encoder itself, over all networks."""
        result = self.materialize(after_training_job.name)
        found = [said for report in REPORTS for said in _metadata(result, report.asset)]
        return {
            name.removeprefix("peace/"): value
            for said in found
            for name, value in said.items()
            if name.startswith("peace/") and name.count("/") == 2 and not name.endswith(("_low", "_high"))
        }

    def train(self, settings: Settings, pairs: PairSettings) -> dict[str, Any]:
        """Draw pairs, train an encoder and make it the current one; returns what its materialization says.

        Raises:
            PassFailed: where there are too few networks, or a step failed.
        """
        bury_dead_runs(self.instance)
        config = {
            asset: {"config": values.model_dump()}
            for asset, values in (("contrastive_pairs", pairs), ("peace_encoder", settings))
        }
        result = self.materialize("train", config=config)
        return _metadata(result, "peace_encoder")[0]

    def forget(self, name: str, *, again: bool) -> list[str]:
        """Leave a model or a source out, or remember it; the model ids that it concerns.

        Raises:
            PassFailed: where there is nothing of that name, or the index could not be brought up to date.
        """
        bury_dead_runs(self.instance)
        config = {leave_out.name: {"config": {"name": name, "again": again}}}
        (said,) = _metadata(self.materialize(forget_job.name, config=config), "zoo_crawl")
        self._bring_up_to_date(PassSummary())
        return [record.model_id for batch in said["batches"] for record in read_records(self.lake, batch)]

    def report(self, name: str) -> None:
        """Write a report now.

        Raises:
            NotWritten: where there is nothing to report on.
            PassFailed: where a step or check failed.
        """
        bury_dead_runs(self.instance)
        report = all_reports()[name]
        (said,) = _metadata(self.materialize(name), report.asset)
        if NOT_WRITTEN in said:
            raise NotWritten(f"{name} is not written: {said[NOT_WRITTEN]}")

    def atlas(self, most: int) -> None:
        """Draw the map of the index now, of at most so many networks.

        Raises:
            PassFailed: where there is no index, or the step failed.
        """
        bury_dead_runs(self.instance)
        config = {"index_atlas": {"config": {"most": most}}}
        (said,) = _metadata(self.materialize("atlas", config=config), "index_atlas")
        if NOT_WRITTEN in said:
            raise PassFailed(f"the atlas is not written: {said[NOT_WRITTEN]}")

    def _reports_are_stale(self) -> bool:
        """Whether the encoder was trained after one of the reports on it, or never reported on."""
        latest = self.instance.get_latest_materialization_event
        trained = latest(dg.AssetKey("peace_encoder"))
        if trained is None:
            return False
        reported = [latest(dg.AssetKey(report.asset)) for report in REPORTS if report.after_training]
        return any(event is None or event.timestamp < trained.timestamp for event in reported)

    def _crawl(self, summary: PassSummary) -> PassFailed | None:
        """Crawl; a failure doesn't keep what is stored from being brought up to date, and is returned.

        Raises:
            PassFailed: where the configuration can't be used.
        """
        try:
            ZooResource(**self.resources[1]).load(self.lake).build(self.lake)
        except ConfigError as error:
            raise PassFailed(str(error)) from error
        try:
            result = self.materialize("crawl")
        except PassFailed as failure:
            return failure
        for found in _metadata(result, "zoo_crawl"):
            summary.new += found["new"]
            summary.changed += found["changed"]
            summary.deleted += found["deleted"]
            summary.skipped += skipped_records(self.lake, found["batches"])
        return None

    def _bring_up_to_date(self, summary: PassSummary) -> None:
        """Run every stale batch from its first missing stage on; one that fails doesn't stop the others.
        At last look how the lake stands."""
        from peace_pipeline.encoder.store import current_version
        from peace_pipeline.stages.embed import unembedded_models
        from peace_pipeline.stages.order import EXTRACT, INDEX, LAYERS
        from peace_pipeline.stages.outcome import skipped_models
        from peace_pipeline.stages.staleness import stale_batches

        version = current_version(self.lake)
        failures = []
        for batch, stage in stale_batches(self.lake).items():
            keys = keys_from(stage, has_encoder=version is not None)
            try:
                result = self.materialize("embed_batch", partition=batch, keys=keys)
            except PassFailed as failure:
                failures.append(f"batch {batch}: {failure}")
                continue
            summary.batches += 1
            summary.embedded += sum(row["networks"] for row in _metadata(result, "network_embeddings"))
            if stage in (EXTRACT, LAYERS):
                summary.skipped += skipped_models(self.lake, batch)
            if version and stage != INDEX:
                summary.skipped += unembedded_models(self.lake, version, batch)
        self.materialize(status_job.name)
        if failures:
            raise PassFailed("; ".join(failures))


def _metadata(result: dg.ExecuteInProcessResult, key: str) -> list[dict[str, Any]]:
    """The metadata values of each materialization of ``key`` in a run."""
    return [
        {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(key)
    ]


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            error = failure.error
            while error and error.cause:
                error = error.cause
            return f"{event.step_key}: {error.message.strip().splitlines()[-1] if error else 'failed'}"
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    return f"asset check failed: {', '.join(failed)}" if failed else "the run failed"
