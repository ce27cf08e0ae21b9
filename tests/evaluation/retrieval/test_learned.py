"""Which tasks an encoder knows."""

from __future__ import annotations

import shutil

import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.retrieval.learned import learned_tasks
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import listings

from ..conftest import listed, networks_of


@pytest.fixture(scope="module")
def lake(small_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A copy to save encoders in."""
    return Lake.open(shutil.copytree(small_lake.root, tmp_path_factory.mktemp("learned") / "home"))


def test_the_lakes_own_encoder_knows_the_tasks_of_its_training_runs(lake: Lake) -> None:
    torch.manual_seed(0)
    version = store.save(lake, Encoder(), {"networks": 3, "tasks": 2, "command": "peace train"})
    learned = learned_tasks(lake, version)
    assert learned.of(listings(lake)).all()
    assert learned.words == "3 networks of 2 tasks (`peace train`)"
    others = [listed(networks_of("mlp", 1)[0], task=f"t · {name}").listing for name in ("blobs-1-0", "hats")]
    assert not learned.of(others).any()


def test_the_shipped_encoder_knows_made_up_tasks_alone(lake: Lake) -> None:
    learned = learned_tasks(lake, store.packaged_version() or "")
    assert not learned.of(listings(lake)).any()
    names = ["t · blobs-1-0", "t · letters-3-0", "t · bars-1-0", "t · digits"]
    made_up = [listed(networks_of("mlp", 1)[0], task=name).listing for name in names]
    assert learned.of(made_up).tolist() == [True, True, False, False]


def test_one_that_was_trained_from_the_shipped_one_knows_both(lake: Lake) -> None:
    torch.manual_seed(0)
    version = store.save(lake, Encoder(), {"start": "pretrained"})
    known = [listed(networks_of("mlp", 1)[0], task="t · blobs-1-0").listing, *listings(lake)]
    assert learned_tasks(lake, version).of(known).all()
