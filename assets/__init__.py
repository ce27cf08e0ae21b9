"""The DAG: one module a stage; each asset is a few lines that call the library."""
