"""A shard stands for its set, an index for what it names; a part of a network is none."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.weights.errors import UnreadableCheckpoint

NAMES = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def shards(folder: Path, names: list[str] = NAMES) -> list[Path]:
    for number, name in enumerate(names):
        save_file({f"layers.{number}.weight": torch.ones(2, 2)}, folder / name)
    return [folder / name for name in names]


def indexed(folder: Path, **more: str) -> None:
    named = {f"layers.{number}.weight": name for number, name in enumerate(NAMES)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named | more}))


@pytest.mark.parametrize("has_index", [False, True])
def test_any_shard_stands_for_all(has_index: bool, tmp_path: Path) -> None:
    paths = shards(tmp_path)
    if has_index:
        indexed(tmp_path)
    save_file({"other.weight": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    for path in paths:
        assert weight_files(path) == paths
    assert weight_files(tmp_path / "other.safetensors") == [tmp_path / "other.safetensors"]


@pytest.mark.parametrize("has_index", [False, True])
def test_a_shard_without_the_others_is_refused(has_index: bool, tmp_path: Path) -> None:
    first, second = shards(tmp_path)
    if has_index:
        indexed(tmp_path)
    second.unlink()
    with pytest.raises(UnreadableCheckpoint, match="1 of 2 shards"):
        weight_files(first)


def test_an_index_that_names_tensors_that_no_file_has(tmp_path: Path) -> None:
    paths = shards(tmp_path)
    indexed(tmp_path)
    with open_checkpoint(paths) as checkpoint:
        assert checkpoint.tensors.keys() == {"layers.0.weight", "layers.1.weight"}
    indexed(tmp_path, **{"layers.2.weight": NAMES[1]})
    with pytest.raises(UnreadableCheckpoint, match=r"layers\.2\.weight"), open_checkpoint(paths):
        pass


def test_shards_of_keras(tmp_path: Path) -> None:
    names = ["model_00000.weights.h5", "model_00001.weights.h5"]
    for name in names:
        (tmp_path / name).touch()
    listed = {"/layers/dense/vars": names, "/layers/dense_1/vars": names[1]}
    (tmp_path / "model.weights.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    assert weight_files(tmp_path / names[1]) == [tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        (["model_world_size_2_rank_0.pt"], False),
        (["model_world_size_1_rank_0.pt"], True),
        (["mp_rank_00_model_states.pt"], True),
        (["mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"], False),
        (["zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_1_mp_rank_00_model_states.pt"], False),
        (["consolidated.00.pth", "consolidated.01.pth"], False),
        (["consolidated.00.pth"], True),
        (["lora_rank8.pt", "other.pt"], True),
    ],
)
def test_parts_of_ranks(names: list[str], whole: bool, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    first = tmp_path / names[0]
    if whole:
        assert weight_files(first) == [first]
    else:
        with pytest.raises(UnreadableCheckpoint, match="one rank of 2"):
            weight_files(first)


def test_an_index_of_a_part_speaks_of_its_part(tmp_path: Path) -> None:
    for part in ("transformer", "vae"):
        (tmp_path / part).mkdir()
    paths = shards(tmp_path / "transformer")
    indexed(tmp_path / "transformer")
    vae = tmp_path / "vae" / "model.safetensors"
    save_file({"decoder.weight": torch.ones(2, 2)}, vae)
    with open_checkpoint([*paths, vae]) as checkpoint:
        assert {name.partition(".")[0] for name in checkpoint.tensors} == {"transformer", "vae"}
    indexed(tmp_path / "transformer", **{"layers.2.weight": NAMES[1]})
    with pytest.raises(UnreadableCheckpoint, match=r"layers\.2\.weight"), open_checkpoint([*paths, vae]):
        pass


def test_parts_that_only_their_headers_tell(tmp_path: Path) -> None:
    path = tmp_path / "renamed.gguf"
    writer = gguf.GGUFWriter(path, "x")
    writer.add_uint16("split.count", 2)
    writer.add_tensor("a.weight", np.ones((4, 4), np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(UnreadableCheckpoint, match="one of 2 parts"), open_checkpoint([path]):
        pass


def test_parts_by_the_folders_of_processes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("mp_rank_00", "mp_rank_01")]
    for folder in folders:
        folder.mkdir()
        torch.save({"a.weight": torch.ones(2, 2)}, folder / "model_optim_rng.pt")
    path = folders[0] / "model_optim_rng.pt"
    with pytest.raises(UnreadableCheckpoint, match="mp_rank_00 is the part of one process of 2"):
        weight_files(path)
    (folders[1] / path.name).unlink()
    folders[1].rmdir()
    assert weight_files(path) == [path]
