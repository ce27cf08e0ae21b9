"""Settings of all tests, and what most of them begin with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peace_pipeline.threads import share_the_machine

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker of the tests, like all that it starts, has one core
share_the_machine()

import absl.logging
import pytest
import torch
from hypothesis import HealthCheck, settings

from peace_pipeline.lake import Lake
from tests.specimens.running import Shelf

settings.register_profile(
    "peace",
    derandomize=True,
    deadline=None,
    max_examples=20,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("peace")
torch.set_num_threads(1)
# Keras logs through absl, which would keep pytest's stream and close it when mlflow sets up its own logging.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The specimens, saved."""
    return Shelf(tmp_path_factory.mktemp("specimens"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake.open(tmp_path / "home")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """An empty folder for models."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    return folder
