"""Networks of a zoo in a lake of their own, which they go through as any network does."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.embed import embed_batch
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.zoo import ZooConfig

from .zoo import Zoo

STAGES: dict[str, Callable[[Lake, str], object]] = {
    "inventory": extract_batch,
    "layers": layer_batch,
    "responses": respond_batch,
    "embeddings": embed_batch,
}


def through_a_lake(zoo: Zoo, networks: Path, home: Path) -> tuple[Zoo, dict[str, float]]:
    """The networks in the folders of ``networks``, embedded in a lake at ``home`` by the encoder of ``zoo``; and the
    seconds of each stage."""
    lake = Lake.open(home)
    shutil.copytree(zoo.lake.encoders / zoo.version, lake.encoders / zoo.version)
    (lake.encoders / "current").write_text(zoo.version)
    source = {"kind": "directory", "path": str(networks)}
    seconds: dict[str, float] = defaultdict(float)
    for batch in crawl_zoo(lake, ZooConfig((source,), home)).batches:
        for name, stage in STAGES.items():
            start = time.perf_counter()
            stage(lake, batch)
            seconds[name] += time.perf_counter() - start
    return Zoo.of(lake, zoo.version), dict(seconds)
