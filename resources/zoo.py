"""The configured zoo as a resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import ConfigError, ZooConfig


def find_config(lake: Lake, path: str = "") -> Path:
    """``path`` if given, else ``./peace.toml``, else the lake's peace.toml.

    Raises:
        ConfigError: where none of them exists.
    """
    candidates = [Path(path)] if path else [Path("peace.toml"), lake.root / "peace.toml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(f"no zoo is configured: {' and '.join(map(str, candidates))} not found")


class ZooResource(dg.ConfigurableResource):
    """The sources to crawl. ``config`` is a peace.toml; see :func:`find_config` for the default."""

    config: str = ""

    def load(self, lake: Lake) -> ZooConfig:
        """Read the configuration.

        Raises:
            ConfigError: where there is none or it can't be used.
        """
        return ZooConfig.load(find_config(lake, self.config))

    def fetcher(self, lake: Lake) -> Fetcher:
        """What fetches the files of models; without a configuration, those on this machine alone."""
        try:
            config = self.load(lake)
        except ConfigError:
            return Fetcher()
        return Fetcher(config.build(lake))
