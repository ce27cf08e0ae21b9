"""Names that people type, and those that they mean."""

from __future__ import annotations

from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import DELETED
from peace_pipeline.zoo.batches import store_batch
from peace_pipeline.zoo.names import alike, did_you_mean, did_you_mean_model_or_path, meant
from peace_pipeline.zoo.record import ModelRecord


def stored(lake: Lake, *model_ids: str, status: str = "new") -> None:
    reason = None if status == "new" else "why"
    store_batch(
        lake,
        [
            ModelRecord("directory", name, "r", "file:///m", status=status, reason=reason)
            for name in model_ids
        ],
    )


def test_slips_and_parts_of_names(lake: Lake) -> None:
    assert alike(lake, "anything") == []
    stored(lake, "trained:demo/digits-cnn-000", "trained:demo/digits-cnn-001", "org/Resnet-50", "it's")
    assert alike(lake, "org/resnet50") == ["org/Resnet-50"]
    assert alike(lake, "digits-cnn-001") == ["trained:demo/digits-cnn-001"]
    assert alike(lake, "trained:demo/digits-cnn-00") == [
        "trained:demo/digits-cnn-000",
        "trained:demo/digits-cnn-001",
    ]
    assert alike(lake, "its") == ["it's"]
    assert alike(lake, "/home/me/model.safetensors") == []
    assert did_you_mean(lake, "org/resnet50") == "; did you mean org/Resnet-50?"
    assert did_you_mean(lake, "nothing at all") == ""


def test_slips_in_paths(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "mystery.pt").touch()
    slip = tmp_path / "mystry.pt"
    assert did_you_mean_model_or_path(lake, str(slip)) == f"; did you mean {tmp_path / 'mystery.pt'}?"
    assert did_you_mean(lake, str(slip)) == ""
    for name in (tmp_path / "readme.md", tmp_path / "nowhere/mystery.pt", "nul\0", "~nobody/m.pt"):
        assert did_you_mean_model_or_path(lake, str(name)) == ""
    stored(lake, str(slip)[1:])
    assert did_you_mean_model_or_path(lake, str(slip)) == f"; did you mean {str(slip)[1:]}?", "models first"


def test_what_is_gone_is_not_meant(lake: Lake) -> None:
    stored(lake, "org/name")
    stored(lake, "org/name", status=DELETED)
    assert alike(lake, "org/nam") == []


def test_what_lies_at_the_top_of_a_folder(lake: Lake) -> None:
    stored(lake, "directory:mine/.#a.pt")
    for name in ("directory:mine#a.pt", "directory:mine/.#a.pt"):
        assert meant(name) == "directory:mine/.#a.pt"
    assert meant("directory:mine") == "directory:mine/."
    assert meant("directory:mine#a.pt:cat") == "directory:mine/.#a.pt:cat"
    for name in ("directory:mine/x#a.pt", "org/name#a.pt", "hf://org/name", "mine#a.pt", "directory:"):
        assert meant(name) == name
    assert alike(lake, meant("directory:mine#b.pt")) == ["directory:mine/.#a.pt"]
