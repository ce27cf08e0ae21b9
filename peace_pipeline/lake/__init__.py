"""The lake: every table and file of one PEACE installation, under one root."""

from peace_pipeline.lake.root import Lake, atomic, batch_names, write_parquet

__all__ = ["Lake", "atomic", "batch_names", "write_parquet"]
