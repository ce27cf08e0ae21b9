"""Pages in the lineage: where one lies, and a link that opens it.

Browsers open no file from a page that a server sent, so `make ui` serves the lake's reports beside Dagster.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import dagster as dg

ADDRESS = "http://127.0.0.1:3001"
"""Where `make ui` serves the folder of reports, unless ``PEACE_PAGES`` says otherwise."""


def page_metadata(page: Path, reports: Path) -> dict[str, dg.MetadataValue]:
    """Of a page in the folder ``reports``: its path, and its link."""
    address = os.environ.get("PEACE_PAGES", ADDRESS).rstrip("/")
    link = f"{address}/{quote(page.relative_to(reports).as_posix())}"
    return {"page": dg.MetadataValue.url(link), "path": dg.MetadataValue.path(str(page))}
