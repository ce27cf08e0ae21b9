"""Where models come from: one module a source, one record type for all."""

from peace_pipeline.lake.tables import DELETED, NEW, SKIPPED
from peace_pipeline.zoo.record import ModelFile, ModelRecord
from peace_pipeline.zoo.source import ConfigError, Source, ZooConfig, all_sources, crawl

__all__ = [
    "DELETED",
    "NEW",
    "SKIPPED",
    "ConfigError",
    "ModelFile",
    "ModelRecord",
    "Source",
    "ZooConfig",
    "all_sources",
    "crawl",
]
