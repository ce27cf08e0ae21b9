"""Archives of stable-baselines3: the policy in them is read, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
import torch
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.weights.errors import UnreadableCheckpoint, UnsupportedFormat


def archive(path: Path, *members: str, compression: int = ZIP_STORED) -> Path:
    """An archive as ``model.save`` writes it, with these members."""
    policy = path.with_suffix(".pth")
    torch.save(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).state_dict(), policy)
    with ZipFile(path, "w", compression) as written:
        for name in members:
            if name == "policy.pth":
                written.write(policy, name)
            else:
                written.writestr(name, "{}")
    return path


def test_the_policy_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "ppo.zip", "data", "policy.pth", "_stable_baselines3_version")
    state = torch.load(tmp_path / "ppo.pth")
    with open_checkpoint([path]) as checkpoint:
        assert {name: info.shape for name, info in checkpoint.tensors.items()} == {
            name: tuple(value.shape) for name, value in state.items()
        }
        assert all(torch.equal(checkpoint.read(name), value) for name, value in state.items())


@pytest.mark.parametrize("members", [("data",), ("policy.pth",), ("data", "_stable_baselines3_version")])
def test_other_archives_are_none(tmp_path: Path, members: tuple[str, ...]) -> None:
    with (
        pytest.raises(UnsupportedFormat, match="stable-baselines3"),
        open_checkpoint([archive(tmp_path / "a.zip", *members)]),
    ):
        pass


def test_what_is_compressed_or_no_archive_is_refused(tmp_path: Path) -> None:
    names = ("policy.pth", "_stable_baselines3_version")
    (tmp_path / "text.zip").write_text("no archive")
    for path in (archive(tmp_path / "a.zip", *names, compression=ZIP_DEFLATED), tmp_path / "text.zip"):
        with pytest.raises(UnreadableCheckpoint), open_checkpoint([path]):
            pass


def test_a_folder_of_archives_is_a_model_and_of_others_none(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "data", "policy.pth", "_stable_baselines3_version")
    (tmp_path / "a.pth").unlink()
    assert weight_files(tmp_path) == [path]
    archive(path, "notes.txt")
    (tmp_path / "a.pth").unlink()
    with pytest.raises(UnreadableCheckpoint, match="no weights"):
        weight_files(tmp_path)
