"""What a person sees of the lake: its status, its models, one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from peace_pipeline.cli.table import Column
from peace_pipeline.cli.views import REASONS, moment, place, show_hits

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen
    from peace_pipeline.stages.status import Status

SHOWN = 50
_REASONS = 5
_MODEL = (
    Column("model_id", "id"),
    Column("accuracy", "number", optional=True),
    Column("embedded", optional=True),
    Column("datasets", optional=True),
    Column("task", optional=True),
    Column("architecture", optional=True),
    Column("parameters", "number", optional=True),
    Column("license", optional=True),
    Column("library", optional=True),
    Column("source", optional=True),
    Column("where", "id", optional=True),
)


def show_status(screen: Screen, status: Status) -> None:
    current = status.indexed_by in (None, status.encoder)
    rows: list[tuple[str, object]] = [
        (
            "models",
            _counted(status.models, status.sources)
            or "none: `peace init` writes a peace.toml that says where they are, `peace run` crawls",
        ),
        (
            "in the index",
            (
                status.embedded
                and ", ".join(
                    _many(count, noun)
                    for count, noun in (
                        (status.embedded, "network"),
                        (status.layers, "layer"),
                        (status.outputs, "output"),
                    )
                )
            )
            or "nothing yet",
        ),
        ("stale", _stale(status.stale)),
        (
            "skipped",
            f"{_skipped(status.skipped)}; `peace list --skipped` names them" if status.skipped else None,
        ),
        ("gone", f"{status.gone:,}" if status.gone else None),
        (
            "encoder",
            status.encoder
            and f"{status.encoder}, {'trained in this lake' if status.own else 'shipped with PEACE'}",
        ),
        (
            "index is by",
            None
            if current
            else f"{status.indexed_by}, an earlier encoder: `peace run` embeds every network anew",
        ),
        ("last crawl", moment(status.crawled) or "never"),
        ("last found", moment(status.changed)),
    ]
    screen.facts(f"Lake {status.home}", rows)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counted(count: int, kinds: Mapping[str, int]) -> str | None:
    return (
        f"{count:,}: {', '.join(f'{name} {number:,}' for name, number in kinds.items())}" if count else None
    )


def _skipped(reasons: Mapping[str, int]) -> str:
    first = [f"{number:,} × {reason}" for reason, number in list(reasons.items())[:_REASONS]]
    more = len(reasons) - len(first)
    return f"{sum(reasons.values()):,}: {', '.join(first)}{f', {more} more reasons' if more else ''}"


def _stale(stages: Mapping[str, int]) -> str:
    waiting = ", ".join(f"{number:,} wait for the stage {name!r}" for name, number in stages.items())
    return f"{waiting}: `peace run` does it" if waiting else "nothing"


def show_models(screen: Screen, rows: Sequence[Mapping[str, Any]], total: int) -> None:
    cells = [[_of_model(row, column.name) for column in _MODEL] for row in rows]
    _show_some(screen, "Models", _MODEL, cells, total)
    if any(row["status"] == "skipped" for row in rows):
        screen.note("skipped: `peace list --skipped` says why")


def _of_model(row: Mapping[str, Any], name: str) -> object:
    if name == "where":
        return place(row["uri"])
    if name == "embedded":
        return "yes" if row["embedded"] else "skipped" if row["status"] == "skipped" else "not yet"
    return row[name]


def show_skipped(screen: Screen, rows: Sequence[Mapping[str, str]], total: int) -> None:
    _show_some(screen, "Skipped", REASONS, [(row["model_id"], row["reason"]) for row in rows], total)


def _show_some(
    screen: Screen, title: str, columns: Sequence[Column], rows: Sequence[Sequence[object]], total: int
) -> None:
    if not total:
        screen.print(f"{title}: none.")
        return
    screen.table(title, columns, rows)
    if len(rows) < total:
        screen.note(f"… and {total - len(rows):,} more: -k {total} shows all")


def show_model(screen: Screen, document: Mapping[str, Any], *, is_open: bool = False) -> None:
    record, read, run, index = (document[name] for name in ("record", "read", "run", "index"))
    rows: list[tuple[str, object]] = [
        ("status", _status(document)),
        ("source", record["source"]),
        ("where", place(record["uri"])),
        ("revision", record["revision"]),
        ("files", ", ".join(_file(one) for one in record["files"])),
        ("task", record["task"]),
        ("datasets", record["datasets"]),
        ("metrics", _pairs(record["metrics"])),
        ("architecture", record["architecture"]),
        ("library", record["library"]),
        ("license", record["license"]),
        ("tags", record["tags"]),
        ("trained by", _pairs(record["hyperparameters"])),
        ("created", record["created_at"] and moment(datetime.fromisoformat(record["created_at"]))),
        ("wiring", read and _wiring(read)),
        ("parameters", read and read["parameters"]),
        ("run", run and _run(run)),
        ("derived from", _derived(document["derived_from"])),
        ("derives", [_derived(one) for one in document["derives"]]),
        ("copies", document["copies"]),
        (
            "encoder",
            index and f"{index['encoder_version']}, {moment(datetime.fromisoformat(index['embedded_at']))}",
        ),
    ]
    screen.facts(document["model_id"], rows)
    if index:
        from peace_pipeline.index.search import Hit

        show_hits(screen, "Nearest", [Hit(**hit) for hit in index["nearest"]], is_open=is_open)


def _status(document: Mapping[str, Any]) -> str:
    if document["reason"]:
        return f"{document['status']}: {document['reason']}"
    return "in the index" if document["index"] else "waits: `peace run` embeds it"


def _file(one: Mapping[str, Any]) -> str:
    return f"{one['path']} ({one['size']:,} bytes)" if one["size"] else one["path"]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def _wiring(read: Mapping[str, Any]) -> str:
    family = f" ({read['family']})" if read["family"] else ""
    part = ", a part of its values" if read["sampled"] else ""
    assumes = f"; assumes {', '.join(read['assumes'])}" if read["assumes"] else ""
    return f"{read['method']}{family}{part}{assumes}"


def _run(run: Mapping[str, Any]) -> str:
    if run["reason"]:
        return f"not: {run['reason']}"
    labels = f" ({', '.join(run['labels'])})" if run["labels"] else ""
    return f"by {run['run_by']}, {run['probe_count']} probes, {run['output_count']:,} outputs{labels}"


def _derived(one: Mapping[str, Any] | None) -> str | None:
    if not one:
        return None
    return one["model_id"] + (f" ({one['relation']})" if one["relation"] else "")


def show_forgotten(screen: Screen, name: str, models: Sequence[str], *, again: bool) -> None:
    count = _many(len(models), "model")
    if again:
        screen.print(f"{count} will be found as new by the next `peace run`.")
    else:
        screen.print(f"{count} forgotten. To have them again: peace forget {name} --again", soft_wrap=True)
