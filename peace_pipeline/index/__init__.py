"""Embedding tables, the LanceDB index and search. Importing it loads neither torch nor Dagster."""
