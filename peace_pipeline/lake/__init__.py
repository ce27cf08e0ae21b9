"""The lake: every table and file of one PEACE installation, under one root."""

from peace_pipeline.lake.root import Lake, atomic, write_parquet

__all__ = ["Lake", "atomic", "write_parquet"]
