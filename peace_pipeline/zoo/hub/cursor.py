"""Where the crawl of one source stands, kept on disk so that a crawl that died is taken up again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from peace_pipeline.lake import atomic

CURSOR, LISTED = "place.json", "listed.txt"


@dataclass(frozen=True)
class Descent:
    """A walk from the newest model down: when the newest was modified, and the page to go on with."""

    top: str
    next: str


class Cursor:
    """``covered``: every model modified up to then is in the lake. ``descent``: the walk that is under way, if any.

    ``folder`` is beside those of the other sources of this kind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            state = json.loads((folder / CURSOR).read_text())
        except FileNotFoundError:
            state = {"covered": None, "descent": None}
        self.covered = datetime.fromisoformat(state["covered"]) if state["covered"] else None
        self.descent = Descent(**state["descent"]) if state["descent"] else None

    def descend(self, top: datetime, following: str) -> None:
        """Note the page that a walk goes on with."""
        self._save(self.covered, Descent(top.isoformat(), following))

    def arrive(self, top: datetime) -> None:
        """Note that a walk which began at ``top`` is done."""
        self._save(max(top, self.covered or top), None)

    def list(self, model_ids: Iterable[str]) -> None:
        """Note a complete listing."""
        with atomic(self.folder / LISTED) as temporary:
            temporary.write_text("\n".join(sorted(model_ids)))

    def listed(self) -> set[str]:
        """Ids in this source's last complete listing."""
        return _read(self.folder / LISTED)

    def listed_elsewhere(self) -> set[str]:
        """Ids in the last complete listings of all other sources, also of those that are no longer configured."""
        lists = (path for path in self.folder.parent.glob(f"*/{LISTED}") if path.parent != self.folder)
        return {model_id for path in lists for model_id in _read(path)}

    def _save(self, covered: datetime | None, descent: Descent | None) -> None:
        state = {
            "covered": covered.isoformat() if covered else None,
            "descent": asdict(descent) if descent else None,
        }
        with atomic(self.folder / CURSOR) as temporary:
            temporary.write_text(json.dumps(state))
        self.covered, self.descent = covered, descent


def _read(path: Path) -> set[str]:
    try:
        return set(path.read_text().splitlines())
    except FileNotFoundError:
        return set()
