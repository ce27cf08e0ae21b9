"""Where models come from: one module a source, one record type for all.

Importing this package fills the registry of sources.
"""

import peace_pipeline.zoo.directory
import peace_pipeline.zoo.hub.source
import peace_pipeline.zoo.packages
import peace_pipeline.zoo.torch_hub
import peace_pipeline.zoo.training  # noqa: F401
from peace_pipeline.lake.tables import DELETED, NEW, SKIPPED
from peace_pipeline.zoo.record import ModelFile, ModelRecord
from peace_pipeline.zoo.source import SOURCES, ConfigError, Source, ZooConfig, crawl

__all__ = [
    "DELETED",
    "NEW",
    "SKIPPED",
    "SOURCES",
    "ConfigError",
    "ModelFile",
    "ModelRecord",
    "Source",
    "ZooConfig",
    "crawl",
]
