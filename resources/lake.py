"""The lake as a resource; LanceDB, DuckDB and MLflow live under it."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from peace_pipeline.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """Where PEACE keeps everything."""

    home: str = Field(default="", description="The lake's root; empty: $PEACE_HOME, then .peace.")

    def open(self) -> Lake:
        """The lake."""
        return Lake.open(self.home or None)
