"""The page of docs that says what came of every claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .judging import (
    ASSUMED,
    ASSUMED_WRONG,
    EQUIVALENT,
    GROUPS,
    LIBRARY,
    REFUSED,
    RIGHT,
    UNTRIED,
    VERDICTS,
    WRONG,
    Outcome,
)

_HEAD = f"""# Claims

What PEACE claims of networks, held against what they compute: `python benchmarks/claims.py --page \
docs/claims.md` writes this page. Each network gets random weights in float64; a random element of every \
symmetry that its wiring claims acts on it, all together, and it is run before and after on several kinds of \
inputs. A claim is *{RIGHT}* where no output moves by more than 1e-5 of its largest value; *{ASSUMED}* where \
that is so too, but the wiring says that it rests on an assumption; *{REFUSED}* where no symmetry is claimed, or \
none is acted with. *{ASSUMED_WRONG}* ones are those that `peace transform` refuses without `--assume`. The last \
column counts networks that `peace compare` doesn't call “{EQUIVALENT}” to their own transform.
"""
_LONGEST = 160


def page(outcomes: Sequence[Outcome], left: int = 0) -> str:
    """The page in Markdown; ``left`` is how many networks weren't come to."""
    parts = [_HEAD, _counts(outcomes)]
    if left:
        parts.append(f"The sweep was ended early: {left} more networks are not in these tables.\n")
    for group in GROUPS:
        own = [each for each in outcomes if each.group == group]
        if own:
            parts += [
                f"## {group[0].upper()}{group[1:]}\n",
                _library(own) if group == LIBRARY else _plain(own),
            ]
    return "\n".join(parts)


def _counts(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for group in GROUPS:
        own = [each for each in outcomes if each.group == group]
        counts = Counter(each.verdict for each in own)
        rows.append([group, *(str(counts[verdict]) for verdict in VERDICTS), str(sum(e.missed for e in own))])
    return _table(["", *VERDICTS, f"not “{EQUIVALENT}”"], rows)


def _plain(outcomes: Sequence[Outcome]) -> str:
    """A row for each module, by kind."""
    ordered = sorted(outcomes, key=lambda each: each.kind)
    rows = [
        [each.kind, each.name.split(",")[0].replace("_", " "), each.verdict, _short(each.reason)]
        for each in ordered
    ]
    return _table(["kind", "module", "claim", "reason"], rows)


def _library(outcomes: Sequence[Outcome]) -> str:
    """Right ones by what they are read as, all others by the reason."""
    parts = []
    by_wiring: dict[str, list[str]] = {}
    for each in outcomes:
        if each.verdict == RIGHT:
            by_wiring.setdefault(each.wiring, []).append(each.name)
    rows = [[how, str(len(names)), ", ".join(names)] for how, names in by_wiring.items()]
    parts.append(_table(["right, read as", "classes", ""], rows))
    for verdict in (WRONG, ASSUMED_WRONG, ASSUMED, REFUSED, UNTRIED):
        by_reason: dict[str, list[str]] = {}
        for each in outcomes:
            if each.verdict == verdict:
                by_reason.setdefault(_short(each.reason), []).append(each.name)
        if by_reason:
            rows = [[reason, str(len(names)), ", ".join(names)] for reason, names in by_reason.items()]
            parts.append(_table([verdict, "classes", ""], sorted(rows, key=lambda row: -int(row[1]))))
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _short(text: str) -> str:
    text = " ".join(text.split()).replace("<", "&lt;")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
