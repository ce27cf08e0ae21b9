"""The configured zoo as a resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import ZooConfig, configured_responses

if TYPE_CHECKING:
    from peace_pipeline.responses.running import Limits


class ZooResource(dg.ConfigurableResource):
    """The sources to crawl, and which of their networks are run."""

    config: str = Field(
        default="", description="A peace.toml; empty: ./peace.toml, then $PEACE_HOME/peace.toml."
    )
    responses: str = Field(
        default="",
        description="Which networks are run (never, auto or always); empty: as the peace.toml says.",
    )

    def load(self, lake: Lake) -> ZooConfig:
        """Read the configuration.

        Raises:
            ConfigError: where there is none or it can't be used.
        """
        return ZooConfig.find(lake, self.config)

    def fetcher(self, lake: Lake) -> Fetcher:
        """What fetches the files of models; without a configuration, those on this machine alone.

        Raises:
            ConfigError: where it can't be used.
        """
        return Fetcher.configured(lake, self.config)

    def limits(self, lake: Lake) -> Limits | None:
        """Of the networks that are run; ``None`` where none is.

        Raises:
            ConfigError: where the configuration can't be used.
        """
        from peace_pipeline.responses.running import Limits

        return Limits.of(self.responses or configured_responses(lake, self.config))
