"""Where models come from: one module a source, one record type for all.

Importing this package fills the registry of sources.
"""

from peace_pipeline.zoo import directory, packages, trained_source
from peace_pipeline.zoo.record import DELETED, EMBEDDED, NEW, SKIPPED, ModelFile, ModelRecord
from peace_pipeline.zoo.source import SOURCES, ConfigError, Source, ZooConfig, crawl

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
