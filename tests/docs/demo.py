"""docs/demo.md: the reports of a lake as they are, made by ``python -m tests.docs.demo HOME``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "demo.md"
HEAD = (
    "# One demo\n\n"
    "The reports of the lake that `make demo` leaves, as `peace report NAME --write` wrote each: "
    "nothing here is put by hand (`python -m tests.docs.demo HOME`). In `HOME/reports` they are pages with plots.\n"
)


def page(home: Path) -> str:
    """The page of a lake's reports."""
    texts = [path.read_text() for path in sorted((home / "reports").glob("*/index.md"))]
    return "\n".join([HEAD, *(re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE) for text in texts)])


if __name__ == "__main__":
    PAGE.write_text(page(Path(sys.argv[1])))
