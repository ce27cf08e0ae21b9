"""Which networks are trained on: the samples are bounded, seeded, and of the right runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.encoder.members import lacking, named_members, training_members, validation_members
from peace_pipeline.encoder.settings import NAMELESS, PairSettings
from peace_pipeline.evaluation.population import Member
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.stored import read_wirings
from peace_pipeline.zoo.listing import VALIDATION, by_batch, split_of
from tests.lakes import card_of, directory, ingest, write_model

SMALL, LARGE = 15, 150


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of 40 networks, ten of them large."""
    root: Path = tmp_path_factory.mktemp("members")
    (root / "zoo").mkdir()
    lake = Lake.open(root / "home")
    for i in range(40):
        width = 5 if i % 4 else 50
        state = {"0.weight": torch.ones(width, 2), "1.weight": torch.ones(1, width)}
        write_model(root / "zoo" / f"m{i}", state, card=card_of("digits", "r", f"run-{i}"))
    ingest(lake, directory(root / "zoo"))
    return lake


def test_runs_keep_their_side_and_no_network_is_too_large(filled: Lake) -> None:
    training, validation = (
        training_members(filled, PairSettings()),
        validation_members(filled, PairSettings(), 100),
    )
    assert {one.split for one in training} == {"train"}
    assert {one.split for one in validation} == {"validation"}
    assert {one.parameters for one in training} == {SMALL, LARGE}


def test_what_a_lake_lacks_to_be_trained_on(filled: Lake, lake: Lake, zoo: Path) -> None:
    assert lacking(filled) is None
    assert (lacking(lake) or "").startswith("0 networks in the lake")
    assert split_of("directory:run-1") == VALIDATION
    for i in range(2):
        state = {"0.weight": torch.ones(5, 2), "1.weight": torch.ones(1, 5)}
        write_model(zoo / f"m{i}", state, card=card_of("digits", "r", "run-1"))
    ingest(lake, directory(zoo))
    assert "all 2 networks" in (lacking(lake) or "")


@pytest.mark.parametrize(("nameless", "without"), [(0, [NAMELESS]), (4, [NAMELESS]), (60, [])])
def test_networks_without_a_task_are_left_out_unless_they_are_most(
    lake: Lake, zoo: Path, nameless: int, without: list[str]
) -> None:
    for i in range(24 + nameless):
        state = {"0.weight": torch.ones(5, 2), "1.weight": torch.ones(1, 5)}
        write_model(zoo / f"m{i}", state, card=card_of("digits", "r", f"run-{i}") if i < 24 else None)
    ingest(lake, directory(zoo))
    assert named_members(lake).without == without


def test_samples_are_seeded(filled: Lake) -> None:
    drawn = [training_members(filled, PairSettings(networks=8, seed=seed)) for seed in (0, 0, 1)]
    assert [len(members) for members in drawn] == [8, 8, 8]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(validation_members(filled, PairSettings(), 2)) == 2


def test_an_architecture_is_kept_out(lake: Lake, zoo: Path) -> None:
    state = {"0.weight": torch.ones(5, 2), "1.weight": torch.ones(1, 5)}
    for i in range(30):
        config = {"model_type": ("mlp", "it's", "cnn")[i % 3]}
        write_model(zoo / f"m{i}", state, card=card_of("digits", run=f"run-{i}"), config=config)
    ingest(lake, directory(zoo))
    settings = PairSettings(without=["mlp", "it's"])
    members = training_members(lake, settings) + validation_members(lake, settings, 100)
    assert {one.architecture for one in members} == {"cnn"}
    assert {one.architecture for one in training_members(lake, PairSettings())} == {"mlp", "it's", "cnn"}
    task = members[0].task
    assert task
    assert not training_members(lake, PairSettings(without=[task]))


def test_sizes_that_are_kept_out(filled: Lake) -> None:
    """By the widths and depths that networks are judged by, too."""
    everybody = training_members(filled, PairSettings())
    sizes = {
        key: (Member(one, wiring).width, Member(one, wiring).depth)
        for batch, found in by_batch(everybody).items()
        for key, wiring in read_wirings(filled, batch, set(found)).items()
        for one in [found[key]]
    }
    assert set(sizes.values()) == {(5, 2), (50, 2)}
    for widest, deepest in ((5, None), (49, 2), (50, None), (4, None), (None, 1), (None, 2)):
        settings = PairSettings(widest=widest, deepest=deepest)
        expected = {
            key
            for key, (width, depth) in sizes.items()
            if width <= (widest or width) and depth <= (deepest or depth)
        }
        assert {one.model_id for one in training_members(filled, settings)} == expected


def test_of_many_tasks_a_sample_is_learned(tmp_path: Path) -> None:
    """The fewer are among the more; the epoch is chosen on the same, and on those of which there is no training run."""
    (tmp_path / "zoo").mkdir()
    lake = Lake.open(tmp_path / "home")
    state = {"0.weight": torch.ones(5, 2), "1.weight": torch.ones(1, 5)}
    for task in range(6):
        runs = [f"run-{task}-{i}" for i in range(30)]
        for side in ("train", VALIDATION):
            run = next(run for run in runs if split_of(f"directory:{run}") == side)
            write_model(tmp_path / "zoo" / run, state, card=card_of(f"task-{task}", "r", run))
    run = next(run for run in (f"other-{i}" for i in range(30)) if split_of(f"directory:{run}") == VALIDATION)
    write_model(tmp_path / "zoo" / run, state, card=card_of("other", "r", run))
    write_model(tmp_path / "zoo" / "nameless", state, card="# nothing")
    ingest(lake, directory(tmp_path / "zoo"))

    def tasks(most: int, seed: int = 0, without: str | None = None) -> set[str | None]:
        settings = PairSettings(tasks=most, seed=seed, without=[without] if without else [])
        found = {one.task for one in training_members(lake, settings)}
        judges = {one.task for one in validation_members(lake, settings, 1000)}
        own = {task for task in judges if str(task).endswith("other")}
        assert len(own) == 1
        assert own < judges <= found | own
        return found

    assert [len(tasks(most)) for most in (1, 2, 4, 9)] == [1, 2, 4, 6]
    assert tasks(1) < tasks(2) < tasks(4)
    assert len({frozenset(tasks(2, seed)) for seed in range(8)}) > 1
    (first,) = tasks(1)
    assert first not in tasks(2, without=first)
    assert len(tasks(2, without=first)) == 2
