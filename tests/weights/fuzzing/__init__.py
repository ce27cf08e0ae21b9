"""Fuzzing of the readers: damaged samples of every format, read in a process apart under a watch."""
