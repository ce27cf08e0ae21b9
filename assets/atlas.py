"""The atlas: an interactive map of the index, one page that stands alone."""

import time

import dagster as dg

from peace_pipeline.assets.interrupts import unretried
from peace_pipeline.assets.pages import page_metadata
from peace_pipeline.assets.reports import NOT_WRITTEN
from peace_pipeline.assets.telling import telling
from peace_pipeline.resources import LakeResource


class AtlasSettings(dg.Config):
    """``most`` networks are shown, of a larger index so many at random, by ``seed``."""

    most: int = 100_000
    seed: int = 0


@dg.asset(
    deps=["lancedb_index"],
    group_name="reports",
    kinds={"python", "lancedb"},
    description="Every network of the index on a map, its nearest networks and its lineage: a page that stands alone.",
)
def index_atlas(
    context: dg.AssetExecutionContext, config: AtlasSettings, lake: LakeResource
) -> dg.MaterializeResult:
    """Lay out the index and write the page."""
    from peace_pipeline.atlas.export import write_atlas
    from peace_pipeline.index.search import NoIndex

    home, began = lake.open(), time.monotonic()
    progress = telling(context, "Drawing the atlas")
    try:
        with unretried():
            written = write_atlas(home, most=config.most, seed=config.seed, progress=progress)
    except NoIndex as reason:
        return dg.MaterializeResult(metadata={NOT_WRITTEN: str(reason)})
    return dg.MaterializeResult(
        metadata={
            **page_metadata(written.path, home.reports),
            "networks": float(written.shown),
            "networks in the index": float(written.total),
            "seconds": round(time.monotonic() - began, 1),
        }
    )


atlas_job = dg.define_asset_job("atlas", [index_atlas], description="Draw the map of the index.")
