"""Repositories with a hubconf.py, and what a crawl finds in them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.zoo import ZooConfig
from peace_pipeline.zoo.current import Current

HOST = "https://weights.test"


def repository(folder: Path, hubconf: str, modules: dict[str, str] | None = None) -> Path:
    """A repository of a hubconf.py and other Python files."""
    for name, text in {"hubconf.py": hubconf, **(modules or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def config(place: Path | str, **options: str) -> ZooConfig:
    return ZooConfig(({"kind": "torch_hub", "repository": str(place), **options},), Path("/"))


def links(lake: Lake, place: Path | str) -> dict[str, str]:
    """Entry → URL of every model, after a crawl."""
    crawl_zoo(lake, config(place))
    return {
        model_id.partition("/")[2]: record.uri
        for model_id, record in Current(lake).records().items()
        if record.status == "new"
    }


def reasons(summary: CrawlSummary) -> dict[str, str]:
    return {entry["model_id"].partition("/")[2]: entry["reason"] for entry in summary.skipped}


HUBCONF = "from net.urls import URL\ndef net():\n    load_url(URL)\n"


def zipped(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def tarred(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


GOOD = f"\ndef good():\n    load_url('{HOST}/good.pth')\n"
