"""A checkpoint → named tensors → layers → Parquet. Nothing in a checkpoint is ever executed."""
