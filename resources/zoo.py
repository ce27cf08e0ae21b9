"""The configured zoo as a resource."""

from __future__ import annotations

import dagster as dg

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import ZooConfig


class ZooResource(dg.ConfigurableResource):
    """The sources to crawl. ``config`` is a peace.toml; see :meth:`ZooConfig.find` for the default."""

    config: str = ""

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
