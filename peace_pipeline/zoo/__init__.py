"""Where models come from: one module a source, one record type for all.

Importing this package fills the registry of sources.
"""

from peace_pipeline.zoo import directory, packages
from peace_pipeline.zoo.record import DELETED, EMBEDDED, NEW, SKIPPED, ModelFile, ModelRecord
from peace_pipeline.zoo.source import SOURCES, ConfigError, Source, ZooConfig, crawl
from peace_pipeline.zoo.trained import source as trained_source

__all__ = [
    "DELETED",
    "EMBEDDED",
    "NEW",
    "SKIPPED",
    "SOURCES",
    "ConfigError",
    "ModelFile",
    "ModelRecord",
    "Source",
    "ZooConfig",
    "crawl",
    "directory",
    "packages",
    "trained_source",
]
