"""The networks of a batch that can be run → what they answer to the standard probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.tables import NEW
from peace_pipeline.progress import Progress
from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.runners.model import Model, Ready
from peace_pipeline.responses.running import OFF, Limits, ready, run
from peace_pipeline.responses.table import SCHEMA, answer_row
from peace_pipeline.stages.outcome import Outcome, Row, note_failures
from peace_pipeline.symmetry.opening import open_fetched
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.card import read_config
from peace_pipeline.zoo.fetching import Fetched, Fetcher
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError


@dataclass(frozen=True)
class Responded:
    """How many networks of a batch were run, by what, and why others were not: the most frequent reasons first."""

    run_by: dict[str, int]
    reasons: dict[str, int]

    @property
    def models(self) -> int:
        """Networks that were run."""
        return sum(self.run_by.values())

    @property
    def skipped(self) -> int:
        """Networks that were not."""
        return sum(self.reasons.values())


def respond_batch(
    lake: Lake,
    batch: str,
    fetcher: Fetcher | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
    *,
    limits: Limits | None = Limits(),  # noqa: B008  (it can't be changed)
) -> Responded:
    """Run the networks of a batch that have layers, within ``limits`` (``None``: run none), and write their answers.

    Afterwards copies that were fetched for the batch are given up. A network that can't be run has a row with the
    reason and goes on without responses.
    """
    fetcher = fetcher or Fetcher()
    everything = read_records(lake, batch)
    refused = _refused(lake, batch, limits)
    records = [record for record in everything if record.model_id in refused]
    chosen = [record for record in records if refused[record.model_id] is None]
    rows = {
        record.model_id: Outcome(record.model_id, record.revision, refused[record.model_id]).as_row()
        for record in records
    }
    if limits is not None:
        told = _answers(chosen, fetcher, limits, rows)
        for done, found in enumerate(told, 1):
            if isinstance(found, NotRun):
                rows[found.key] = Outcome(found.key, rows[found.key]["revision"], found.reason).as_row()
            else:
                rows[found.key] |= answer_row(found)
            if progress:
                progress(done, len(chosen))
    fetcher.release(everything)  # before the batch counts as done: nobody would do it later
    note_failures(lake, batch, rows.values(), now)
    write_parquet(pa.Table.from_pylist(list(rows.values()), schema=SCHEMA), lake.responses(batch))
    run_by = Counter(row["run_by"] for row in rows.values() if row["status"] == NEW)
    reasons = Counter(row["reason"] for row in rows.values() if row["status"] != NEW)
    return Responded(dict(run_by.most_common()), dict(reasons.most_common()))


def _refused(lake: Lake, batch: str, limits: Limits | None) -> dict[str, str | None]:
    """Model id → why it needn't be opened, ``None`` where it may be run, of the batch's networks that have layers."""
    columns = ["model_id", "parameters", "sampled"]
    rows = pq.read_table(lake.wirings(batch), columns=columns, filters=[("status", "=", NEW)]).to_pylist()
    if limits is None:
        return {row["model_id"]: OFF for row in rows}
    return {
        row["model_id"]: "only a part of its values is here"
        if row["sampled"]
        else limits.refuses(row["parameters"])
        for row in rows
    }


def _answers(
    records: list[ModelRecord], fetcher: Fetcher, limits: Limits, rows: dict[str, Row]
) -> Iterator[Response | NotRun]:
    """What the networks answer; of those that can't be opened, the reason, which goes into ``rows`` too."""
    unready: list[NotRun] = []

    def networks() -> Iterator[Ready]:
        for record, fetched in fetcher.fetch_all(records, fetch_sampled):
            try:
                with model_errors():
                    opened = _opened(record, fetched, limits)
            except UnusableModel as error:
                outcome = Outcome(record.model_id, record.revision, str(error), error.passing)
                rows[record.model_id] = outcome.as_row()
                continue
            if isinstance(opened, NotRun):
                unready.append(opened)
            else:
                yield opened

    yield from run(networks(), limits)
    yield from unready


def _opened(record: ModelRecord, fetched: Fetched | FetchError, limits: Limits) -> Ready | NotRun:
    if isinstance(fetched, FetchError):
        raise fetched
    with open_fetched(record, fetched) as checkpoint:
        model = Model(record.model_id, checkpoint, read_config(fetched.folder), fetched.folder)
        return ready(model, limits)
