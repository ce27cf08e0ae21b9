"""What a person sees of a command's answer: one function an answer, each prints to a console."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rich.text import Text

from peace_pipeline.cli.table import Column
from peace_pipeline.cli.terminal import columns as in_columns

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen
    from peace_pipeline.definitions import PassSummary
    from peace_pipeline.encoder.checkpoints import EmbeddedCheckpoint
    from peace_pipeline.index.search import Hit, OutputHit
    from peace_pipeline.lake import Lake
    from peace_pipeline.stages.relatives import Relatives
    from peace_pipeline.symmetry.transforming import Transformation
    from peace_pipeline.symmetry.wiring_report import WiringReport

_SHOWN, _NAMES = 50, 3
_FEW = 100
"""Networks below which an encoder that learned from them is doubted."""
_ID, _SIMILARITY = Column("model_id", "id"), Column("similarity", "number")
_OPEN = (
    "Its vector knows of no activation that its hidden units have. If it is ReLU, a config.json in its folder has to "
    'say so, {"hidden_act": "relu"}: only then are copies on other scales near. `peace compare` tries it.'
)
_UNLIKE = (
    "{} of these and the query were not both run, so that even copies are far apart: --by weights compares what both "
    "have."
)
_VERSION = Column("version", "id")
_CLOSER = "closer than"
KNOWN = (
    Column("accuracy", "number", optional=True),
    Column("datasets", optional=True),
    Column("task", optional=True),
    Column("architecture", optional=True),
    Column("parameters", "number", optional=True),
    Column("license", optional=True),
    Column("source", optional=True),
    Column("where", "id", optional=True),
)
"""What the index knows of a network."""
_HIT = (
    Column("rank", "number"),
    _ID,
    _SIMILARITY,
    Column("score", "number"),
    Column(_CLOSER, "number"),
    *KNOWN,
)
_OUTPUT = (
    Column("rank", "number"),
    _ID,
    Column("place", "number"),
    Column("label"),
    _SIMILARITY,
    Column("score", "number"),
)
REASONS = (_ID, Column("reason", "prose"))
_FIGURES = {
    "same_task/map": "same task, MAP",
    "same_task/lead": "… ahead of the best other method by",
    "same_task/precision_at_1": "same task, nearest",
    "same_function/recall_at_1": "disguised copies found first",
}
"""Figure of a report → what it is called."""
_RELATIVE = (
    _ID,
    Column("verdict"),
    Column("relation", optional=True),
    _SIMILARITY,
    Column("reason", "prose"),
)
_EMBEDDED = (
    Column("path", "id"),
    Column("parameters", "number"),
    Column("wiring", optional=True),
    Column("read", optional=True),
    Column("vector or reason", "prose"),
)


def show_pass(screen: Screen, summary: PassSummary, lake: Lake) -> None:
    from peace_pipeline.lake.tables import DELETED
    from peace_pipeline.zoo.current import Current

    if not Current(lake, fold=False).count(f"status <> '{DELETED}'"):
        screen.print(
            "No models: the sources in peace.toml have none that PEACE knows as such (docs/formats.md)."
        )
    elif summary.idle:
        screen.print("Nothing to do: no model is new, changed or gone, and nothing is stale.")
    else:
        screen.print(
            f"{summary.new} new, {summary.changed} changed, {summary.deleted} gone; "
            f"{summary.embedded} embedded{', encoder trained' if summary.trained else ''}."
        )
    if summary.skipped:
        rows = [(row["model_id"], row["reason"]) for row in summary.skipped[:_SHOWN]]
        screen.table("Skipped", REASONS, rows)
        if len(summary.skipped) > _SHOWN:
            screen.print(f"… and {len(summary.skipped) - _SHOWN} more: --json lists them all")
    screen.print(f"Encoder {summary.encoder_version or '–'}, {summary.seconds:.1f} s.")


def show_figures(screen: Screen, figures: dict[str, dict[str, float]]) -> None:
    """The figures that matter of encoders beside each other: the one that PEACE ships, and one that was trained."""
    if figures:
        columns = [Column("of held-out training runs"), *(Column(name, "number") for name in figures)]
        rows = [(words, *(found.get(name) for found in figures.values())) for name, words in _FIGURES.items()]
        screen.table("Encoder shipped, then trained", columns, rows)
        screen.print(
            "The second learned the tasks that both are asked about; the first never saw their data."
        )


def show_example(screen: Screen, lake: Lake) -> None:
    from peace_pipeline.index.lookup import example, find

    model_id = example(lake)
    if model_id:
        screen.print(f"\npeace search {model_id} -k 5", style="bold")
        show_hits(screen, f"Nearest to {model_id}", find(lake, model_id, k=5))


def show_reports(screen: Screen, lake: Lake) -> None:
    from peace_pipeline.evaluation.reports import all_reports, written_reports

    written = {
        row["name"]: (moment(datetime.fromisoformat(row["created_at"])), row["path"])
        for row in written_reports(lake)
    }
    missing = {
        name: ("not yet", f"`peace report {name} --write`") for name in all_reports() if name not in written
    }
    rows = [(name, *shown) for name, shown in (written | missing).items()]
    screen.table("Reports", ("name", Column("written", optional=True), Column("path", "id")), rows)


def show_written(screen: Screen, document: dict[str, Any]) -> None:
    rows = [
        (row["name"], row["state"], f"{row['seconds']} s", row["reason"] or row["path"])
        for row in document["reports"]
    ]
    screen.table("Reports", ("name", "state", "took", Column("path", "id")), rows)
    written = sum(row["state"] == "written" for row in document["reports"])
    own, others = (
        f"{document[name] / 2**20:,.0f} MiB"
        for name in ("peak_memory_bytes", "peak_memory_of_another_process_bytes")
    )
    screen.print(
        f"{written} of {len(rows)} reports written in {document['seconds']:,.0f} s; "
        f"at most {own} of memory, {others} in any process beside it"
    )


def place(uri: str | None) -> str | None:
    """Where files lie: a path on this machine, else the address."""
    return unquote(uri.removeprefix("file://")) if uri and uri.startswith("file:") else uri


def moment(time: datetime | None) -> str | None:
    """A time to the minute, in this machine's zone."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else None


def _some(names: list[str]) -> str:
    more = f", … {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def show_transformation(
    screen: Screen, destination: Path, done: Transformation, config: Path | None = None
) -> None:
    by_action: dict[str, list[str]] = {}
    for group, action in done.actions:
        by_action.setdefault(action, []).append(group)
    rows = [(action, len(groups), _some(groups)) for action, groups in by_action.items()]
    if rows:
        screen.table("Actions", ("action", Column("groups", "number"), Column("names", "prose")), rows)
    noise = f", then noise of {done.noise:g} deviations: not the same function" if done.noise else ""
    screen.print(f"{destination} is written (seed {done.seed}{noise}).")
    if config:
        screen.note(f"{config} says what it is, nothing beside {destination} does")


def show_comparison(screen: Screen, document: dict[str, Any]) -> None:
    screen.print(Text(document["verdict"], "bold") + Text(f": {document['reason']}."))
    layers = document["layers"]
    if layers:
        rows = [(row["a"], row["b"], row["similarity"], row.get("evidence")) for row in layers[:_SHOWN]]
        screen.table(
            "Layers", (Column("A", "id"), Column("B", "id"), _SIMILARITY, Column("evidence", "prose")), rows
        )
    if len(layers) > _SHOWN:
        screen.print(f"… and {len(layers) - _SHOWN} more: --json lists them all")
    orders = document.get("permutations", {})
    moved = [(name, len(order)) for name, order in orders.items() if order != sorted(order)]
    if moved:
        screen.table(
            "Groups in another order: --json has the permutations",
            (Column("name", "id"), Column("size", "number")),
            moved,
        )


def show_relatives(screen: Screen, name: str, kin: Relatives) -> None:
    unread, read = len(kin.unread), len(kin.found) - len(kin.unread)
    if kin.related:
        closest = kin.related[0]
        screen.print(Text(closest.verdict, "bold") + Text(f": {closest.model_id}: {closest.reason}."))
    elif read:
        surely = " surely" if kin.doubtful else ""
        none = (
            f"None of {read} networks{surely} has"
            if read > 1
            else f"The one network compared{surely} has nothing"
        )
        screen.print(f"{none} to do with {name}.")
    else:
        screen.print(f"Nothing of the index could be compared with {name}.")
    if kin.doubtful and not kin.related:
        screen.print(f"Perhaps: {kin.doubtful[0].model_id}: {kin.doubtful[0].reason}.")
    if kin.left:
        screen.print(f"{kin.left:,} more have as many parameters: a larger -k compares them, too.")
    if unread:
        screen.print(f"{unread} could not be read: the table says why.")
    rows = [
        (
            each.model_id,
            each.verdict,
            each.relation,
            each.similarity,
            each.reason if each in kin.unread else None,
        )
        for each in kin.found
    ]
    if rows:
        screen.table(
            "B: those of the index that are nearest to A by weights, and those of its size", _RELATIVE, rows
        )


def show_wiring(screen: Screen, report: WiringReport) -> None:
    from peace_pipeline.symmetry.drawing.outline import lines, steps

    wiring = report.wiring
    shares = report.coverage.shares
    screen.print(
        f"Read as {wiring.summary}: {report.reason}.\n"
        f"Of its bytes {shares['layers']:.1%} are layers, {shares['buffers']:.1%} known buffers, "
        f"{shares['averages']:.1%} averages over training, {shares['unread']:.1%} are not read.\n",
    )
    screen.print(
        "● a group of neurons, its size and symmetries (○ again); below it the layers that write it ← what they read\n",
    )
    for line in in_columns(lines(steps(wiring)), screen.width):
        screen.print(line, soft_wrap=True)


def show_training(screen: Screen, document: dict[str, Any], training: dict[str, Any]) -> None:
    networks, judges = training["networks"], training.get("validation_networks", 0)
    screen.print(
        f"Encoder {document['encoder_version']} trained in {document['seconds']:.0f} s ({document['epochs']} epochs "
        f"on {networks:,} networks, validation MAP {document['validation_map']:.3f} over {judges:,}).\n"
        "The index still serves the embeddings of the encoder before: `peace run` embeds every network anew."
    )
    if networks < _FEW:
        screen.print(
            f"Warning: fewer than {_FEW} networks teach little, and so few to validate on don't tell how little: "
            "the encoder that PEACE ships is likely better. `peace encoder pretrained` goes back to it.",
            style="yellow",
        )


def show_encoders(screen: Screen, rows: list[dict[str, Any]], *, used: bool) -> None:
    cells = [
        (
            row["version"],
            "current" if row["current"] else "",
            "shipped with PEACE" if row["shipped"] else "trained in this lake",
            row["networks"],
            row["validation_map"],
        )
        for row in rows
    ]
    columns = (_VERSION, "", "from", Column("networks", "number"), Column("validation MAP", "number"))
    screen.table("Encoders", columns, cells)
    if used:
        screen.print(
            "`peace run` embeds every network by the current one; until then the index is as it was. "
            "Reports are of the encoder before until `peace report --all --write`."
        )


def show_hits(
    screen: Screen, title: str, hits: list[Hit], nothing: str = "", *, is_open: bool = False
) -> None:
    rows = [[of_hit(hit, column.name) for column in _HIT] for hit in hits]
    _show_found(screen, title, _HIT, rows, nothing)
    if any(hit.as_similar is not None for hit in hits):
        screen.note(f"{_CLOSER}: this share of the pairs of networks in this lake")
    if unlike := sum(hit.same_senses is False for hit in hits):
        screen.note(_UNLIKE.format(unlike))
    if is_open:
        screen.note(_OPEN)


def of_hit(hit: Hit, name: str) -> object:
    """What stands in the column ``name``."""
    if name == _CLOSER:
        return _closer_than(hit.as_similar)
    return place(hit.uri) if name == "where" else getattr(hit, name)


def _closer_than(as_similar: float | None) -> str | None:
    """What a similarity means where so large a share of pairs is as similar."""
    if as_similar is None:
        return None
    less = 1 - as_similar
    digits = 2 if less >= 0.995 else 1 if less >= 0.95 else 0
    return "all" if less == 1 else f"{min(less, 0.9999):.{digits}%}"


def show_outputs(screen: Screen, title: str, hits: list[OutputHit], nothing: str = "") -> None:
    rows = [[getattr(hit, column.name) for column in _OUTPUT] for hit in hits]
    _show_found(screen, title, _OUTPUT, rows, nothing)


def _show_found(
    screen: Screen, title: str, columns: Sequence[Column], rows: list[list[object]], nothing: str
) -> None:
    if rows:
        screen.table(title, columns, rows)
    else:
        screen.print(f"{title}: nothing was found{f': {nothing}' if nothing else ''}.")


def show_embedded(screen: Screen, rows: list[EmbeddedCheckpoint]) -> None:
    cells = [
        (row.path, row.parameters, row.wiring, _extent(row), row.error or _vector(row.vector or []))
        for row in rows
    ]
    screen.table("Embeddings", _EMBEDDED, cells)


def _extent(row: EmbeddedCheckpoint) -> str:
    return "" if row.error else "sampled" if row.sampled else "whole"


def _vector(vector: list[float]) -> str:
    return f"[{', '.join(f'{value:.3f}' for value in vector[:3])}, … {len(vector)}]"


def show_garbage(screen: Screen, document: dict[str, Any]) -> None:
    """What was deleted, or would be, and how much room that makes."""
    garbage = document["garbage"]
    if not garbage:
        screen.print("Nothing to collect.")
        return
    rows = [(one["kind"], one["bytes"], one["path"]) for one in garbage[:_SHOWN]]
    screen.table("Garbage", ("kind", Column("bytes", "number"), Column("path", "id")), rows)
    if len(garbage) > _SHOWN:
        screen.print(f"… and {len(garbage) - _SHOWN} more: --json lists them all")
    done = "would be freed" if document["dry_run"] else "freed"
    screen.print(f"{document['bytes'] / 1e6:.1f} MB {done}.")
