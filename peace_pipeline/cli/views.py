"""What a person sees of a command's answer: one function an answer, each prints to a console."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from peace_pipeline.cli.terminal import columns, table

if TYPE_CHECKING:
    from rich.console import Console

    from peace_pipeline.definitions import PassSummary
    from peace_pipeline.encoder.checkpoints import EmbeddedCheckpoint
    from peace_pipeline.index.search import Hit, OutputHit
    from peace_pipeline.lake import Lake
    from peace_pipeline.symmetry.transforming import Transformation
    from peace_pipeline.symmetry.wiring_report import WiringReport

_SHOWN, _NAMES = 50, 3
_HIT = ("rank", "model_id", "task", "architecture", "similarity")
_OUTPUT = ("rank", "model_id", "place", "label", "similarity")
_FIGURES = {
    "same_task/map": "same task, MAP",
    "same_task/lead": "… ahead of the best other method by",
    "same_task/precision_at_1": "same task, nearest",
    "same_function/recall_at_1": "disguised copies found first",
}
"""Figure of a report → what it is called."""
_EMBEDDED = ("path", "parameters", "wiring", "read", "vector or reason")


def show_pass(console: Console, summary: PassSummary) -> None:
    if summary.idle:
        console.print("Nothing to do: no model is new, changed or gone, and nothing is stale.")
    else:
        console.print(
            f"{summary.new} new, {summary.changed} changed, {summary.deleted} gone; "
            f"{summary.embedded} embedded{', encoder trained' if summary.trained else ''}."
        )
    if summary.skipped:
        rows = [(row["model_id"], row["reason"]) for row in summary.skipped[:_SHOWN]]
        console.print(table("Skipped", ("model_id", "reason"), rows))
        if len(summary.skipped) > _SHOWN:
            console.print(f"… and {len(summary.skipped) - _SHOWN} more: --json lists them all")
    console.print(f"Encoder {summary.encoder_version or '–'}, {summary.seconds:.1f} s.", highlight=False)


def show_figures(console: Console, figures: dict[str, dict[str, float]]) -> None:
    """The figures that matter of encoders beside each other: the one that PEACE ships, and one that was trained."""
    if figures:
        rows = [(words, *(found.get(name) for found in figures.values())) for name, words in _FIGURES.items()]
        console.print(table("Encoder shipped, then trained", ("of held-out training runs", *figures), rows))
        console.print(
            "The second learned the tasks that both are asked about; the first never saw their data."
        )


def show_example(console: Console, lake: Lake) -> None:
    from peace_pipeline.index.lookup import example, find

    model_id = example(lake)
    if model_id:
        console.print(f"\npeace search {model_id} -k 5", style="bold", highlight=False)
        show_hits(console, f"Nearest to {model_id}", find(lake, model_id, k=5))


def show_reports(console: Console, lake: Lake) -> None:
    from peace_pipeline.evaluation.reports import all_reports, written_reports

    written = {row["name"]: (row["path"], row["created_at"]) for row in written_reports(lake)}
    missing = {
        name: (f"`peace report {name} --write` writes it", "–")
        for name in all_reports()
        if name not in written
    }
    rows = [(name, *shown) for name, shown in (written | missing).items()]
    console.print(table("Reports", ("name", "path", "created_at"), rows))


def _some(names: list[str]) -> str:
    more = f", … {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def show_transformation(console: Console, destination: Path, done: Transformation) -> None:
    by_action: dict[str, list[str]] = {}
    for group, action in done.actions:
        by_action.setdefault(action, []).append(group)
    rows = [(action, len(groups), _some(groups)) for action, groups in by_action.items()]
    if rows:
        console.print(table("Actions", ("action", "groups", "names"), rows))
    noise = f", then noise of {done.noise:g} deviations: not the same function" if done.noise else ""
    console.print(f"{destination} is written (seed {done.seed}{noise}).", highlight=False)


def show_comparison(console: Console, document: dict[str, Any]) -> None:
    console.print(Text(document["verdict"], "bold") + Text(f": {document['reason']}."))
    layers = document["layers"]
    if layers:
        rows = [(row["a"], row["b"], row["similarity"], row.get("evidence")) for row in layers[:_SHOWN]]
        console.print(table("Layers", ("A", "B", "similarity", "evidence"), rows))
    if len(layers) > _SHOWN:
        console.print(f"… and {len(layers) - _SHOWN} more: --json lists them all")
    orders = document.get("permutations", {})
    moved = [(name, len(order)) for name, order in orders.items() if order != sorted(order)]
    if moved:
        console.print(table("Groups in another order: --json has the permutations", ("name", "size"), moved))


def show_wiring(console: Console, report: WiringReport) -> None:
    from peace_pipeline.symmetry.drawing.outline import lines, steps

    wiring = report.wiring
    shares = report.coverage.shares
    console.print(
        f"Read as {wiring.summary}: {report.reason}.\n"
        f"Of its bytes {shares['layers']:.1%} are layers, {shares['buffers']:.1%} known buffers, "
        f"{shares['unread']:.1%} are not read.\n",
        highlight=False,
    )
    console.print(
        "● a group of neurons, its size and symmetries (○ again); below it the layers that write it ← what they read\n",
        highlight=False,
    )
    for line in columns(lines(steps(wiring)), console.width):
        console.print(line, soft_wrap=True)


def show_training(console: Console, document: dict[str, Any]) -> None:
    console.print(
        f"Encoder {document['encoder_version']} trained in {document['seconds']:.0f} s "
        f"({document['epochs']} epochs, validation MAP {document['validation_map']:.3f}).\n"
        "The index still serves the embeddings of the encoder before: `peace run` embeds every network anew."
    )


def show_hits(console: Console, title: str, hits: list[Hit]) -> None:
    _show_found(console, title, _HIT, hits)


def show_outputs(console: Console, title: str, hits: list[OutputHit]) -> None:
    _show_found(console, title, _OUTPUT, hits)


def _show_found(
    console: Console, title: str, fields: Sequence[str], hits: Sequence[Hit] | Sequence[OutputHit]
) -> None:
    if hits:
        console.print(table(title, fields, [[getattr(hit, name) for name in fields] for hit in hits]))
    else:
        console.print(f"{title}: nothing was found.", highlight=False)


def show_embedded(console: Console, rows: list[EmbeddedCheckpoint]) -> None:
    cells = [
        (row.path, row.parameters, row.wiring, _extent(row), row.error or _vector(row.vector or []))
        for row in rows
    ]
    console.print(table("Embeddings", _EMBEDDED, cells))


def _extent(row: EmbeddedCheckpoint) -> str:
    return "" if row.error else "sampled" if row.sampled else "whole"


def _vector(vector: list[float]) -> str:
    return f"[{', '.join(f'{value:.3f}' for value in vector[:3])}, … {len(vector)}]"


def show_garbage(console: Console, document: dict[str, Any]) -> None:
    """What was deleted, or would be, and how much room that makes."""
    garbage = document["garbage"]
    if not garbage:
        console.print("Nothing to collect.")
        return
    rows = [(one["kind"], one["path"], one["bytes"]) for one in garbage[:_SHOWN]]
    console.print(table("Garbage", ("kind", "path", "bytes"), rows))
    if len(garbage) > _SHOWN:
        console.print(f"… and {len(garbage) - _SHOWN} more: --json lists them all")
    done = "would be freed" if document["dry_run"] else "freed"
    console.print(f"{document['bytes'] / 1e6:.1f} MB {done}.", highlight=False)
