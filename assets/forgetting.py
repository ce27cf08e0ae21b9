"""Models that are left out: a job, so that the timeline says who left out what, and the UI can."""

import dagster as dg
from pydantic import Field

from peace_pipeline.assets.catalog import rows
from peace_pipeline.assets.partitions import register
from peace_pipeline.resources import LakeResource


class Forgetting(dg.Config):
    """What to leave out, or to remember."""

    name: str = Field(description="A model id, a kind of source, or what ids begin with: `org/`.")
    again: bool = Field(default=False, description="Remember it instead: the next crawl finds it as new.")


@dg.op(
    name="leave_out",
    description="Records that leave models out, in batches that the sensor `stale_batches` follows.",
)
def leave_out(context: dg.OpExecutionContext, config: Forgetting, lake: LakeResource) -> None:
    """Leave out a model or a source."""
    from peace_pipeline.stages.about import UnknownModel
    from peace_pipeline.stages.forget import forget

    home = lake.open()
    try:
        found = forget(home, config.name, again=config.again)
    except UnknownModel as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    register(context.instance, home)
    context.log_event(
        dg.AssetMaterialization(
            "zoo_crawl",
            description=f"{config.name}: {'remembered' if config.again else 'forgotten'}",
            metadata={
                "remembered" if config.again else "forgotten": len(found.models),
                "batches": dg.MetadataValue.json(found.batches),
                **rows(*map(home.zoo, found.batches)),
            },
        )
    )


@dg.job(
    name="forget",
    description="Leave a model or a source out of the index, or remember it, as `peace forget` does.",
)
def forget_job() -> None:
    """Leave out what the config names."""
    leave_out()
