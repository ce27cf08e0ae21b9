"""Folders as people have them: variants, parts and wholes, collections, caches."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.lake import Lake
from peace_pipeline.stages.outcome import skipped_models
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.weights.checkpoint import models_at, open_checkpoint, weight_files
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.files import indexes
from peace_pipeline.zoo.folders import FolderModel, data_beside, described_subfolders, is_place, models_of
from tests.lakes import directory, ingest, write_model

STATE = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(2, 3)}


def written(path: Path, state: dict[str, torch.Tensor] = STATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path) if path.suffix in (".pt", ".tar", ".pth") else save_file(state, path)
    return path


def tensors_of(place: Path) -> set[str]:
    with open_checkpoint(weight_files(place)) as checkpoint:
        return {*checkpoint.tensors}


def test_loose_files_are_models_and_a_broken_one_is_one_skipped_record(lake: Lake, zoo: Path) -> None:
    for name in ("a.pt", "b.safetensors", "c.pth.tar"):
        written(zoo / "loose" / name)
    (zoo / "loose" / "d.pt").write_bytes(b"PK broken")
    summary = ingest(lake, directory(zoo))
    names = ["a.pt", "b.safetensors", "c.pth.tar", "d.pt"]
    assert summary.new == [
        f"directory:zoo/loose#{name}" for name in sorted(names, key=lambda n: n == "c.pth.tar")
    ] or (sorted(summary.new) == [f"directory:zoo/loose#{name}" for name in names])
    (skipped,) = skipped_models(lake, summary.batches[0])
    assert skipped["model_id"] == "directory:zoo/loose#d.pt"
    assert models_at(str(zoo / "loose")) == [
        f"{zoo / 'loose'}#{model.name}" for model in models_of(zoo / "loose")
    ]
    assert tensors_of(Path(f"{zoo / 'loose'}#c.pth.tar")) == {*STATE}


def test_a_pipeline_is_its_parts_and_the_whole(lake: Lake, zoo: Path) -> None:
    for part in ("unet", "vae"):
        written(zoo / "p" / part / "diffusion_pytorch_model.safetensors")
    written(zoo / "p" / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    (zoo / "p" / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert ingest(lake, directory(zoo)).new == [f"directory:zoo/p{part}" for part in ("", "/unet", "/vae")]
    assert tensors_of(zoo / "p") == {f"{part}.{name}" for part in ("unet", "vae") for name in STATE}
    assert tensors_of(Path(f"{zoo / 'p'}#vae")) == {*STATE}
    files = [file.path for file in Current(lake).records()["directory:zoo/p"].files]
    assert files == [f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")]


def test_a_sentence_transformer_is_read_with_its_modules(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "s", STATE)
    written(zoo / "s" / "2_Dense" / "model.safetensors", {"linear.weight": torch.ones(2, 2)})
    written(zoo / "s" / "onnx" / "model.safetensors")
    (zoo / "s" / "modules.json").write_text(
        json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}])
    )
    parts = ("", "#model.safetensors", "/2_Dense")
    assert ingest(lake, directory(zoo)).new == [f"directory:zoo/s{part}" for part in parts]
    assert tensors_of(zoo / "s") == {*STATE, "2_Dense.linear.weight"}
    assert tensors_of(Path(f"{zoo / 's'}#model.safetensors")) == {*STATE}


def test_a_collection_of_adapters_is_a_whole_of_parts(tmp_path: Path) -> None:
    lora = {"x.lora_down.weight": torch.ones(2, 4), "x.lora_up.weight": torch.ones(4, 2)}
    for name in ("a", "b"):
        written(tmp_path / f"{name}.safetensors", lora)
    whole, *parts = models_of(tmp_path)
    assert whole == FolderModel("", ("a.safetensors", "b.safetensors"))
    assert [part.name for part in parts] == ["a.safetensors", "b.safetensors"]
    assert tensors_of(tmp_path) == {f"{part}.{name}" for part in "ab" for name in lora}
    assert models_at(str(tmp_path)) == [str(tmp_path)]


def test_subfolders_of_formats_and_quantisations_hold_variants(tmp_path: Path) -> None:
    write_model(tmp_path, STATE)
    written(tmp_path / "onnx" / "model.safetensors")
    assert models_of(tmp_path) == [FolderModel("", ("model.safetensors",), ("onnx/model.safetensors",))]
    gguf = tmp_path / "many"
    for kind in ("Q4_K_M", "Q8_0"):
        (gguf / kind).mkdir(parents=True)
        (gguf / kind / f"m-{kind}-00001-of-00001.gguf").write_bytes(b"GGUF")
    (found,) = models_of(gguf)
    assert found.files == ("Q8_0/m-Q8_0-00001-of-00001.gguf",)
    assert found.variants == ("Q4_K_M/m-Q4_K_M-00001-of-00001.gguf",)


def test_folders_without_a_model_say_where_there_are_some(tmp_path: Path) -> None:
    for step in (500, 1000):
        write_model(tmp_path / f"checkpoint-{step}", STATE)
    assert models_of(tmp_path) == []
    assert described_subfolders(tmp_path) == ["checkpoint-500", "checkpoint-1000"]


def test_the_blobs_of_a_cache_are_no_models_beside_its_snapshots(lake: Lake, zoo: Path) -> None:
    cache = zoo / "models--org--name"
    written(cache / "blobs" / "f00d")
    (cache / "refs").mkdir()
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00d")
    assert ingest(lake, directory(zoo)).new == ["directory:zoo/models--org--name/snapshots/abc"]


def test_a_pipeline_of_which_a_part_has_no_weights_is_no_whole(tmp_path: Path) -> None:
    written(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    written(tmp_path / "checkpoint-500" / "model.safetensors")
    (tmp_path / "vae").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"unet": ["d", "U"], "vae": ["d", "V"]}))
    assert models_of(tmp_path)[0].files == ("unet/diffusion_pytorch_model.safetensors",)
    (tmp_path / "vae" / "config.json").write_text("{}")
    assert models_of(tmp_path)[0].reason == "vae: no weights"


def test_names_with_a_hash_and_names_that_are_not_there(tmp_path: Path) -> None:
    for name in ("a#1.safetensors", "b.safetensors"):
        written(tmp_path / "f#g" / name)
    assert tensors_of(Path(f"{tmp_path / 'f#g'}#a#1.safetensors")) == {*STATE}
    with pytest.raises(UnreadableCheckpoint, match=r"no network 'c\.pt' in this folder, but f#g#a#1"):
        weight_files(Path(f"{tmp_path / 'f#g'}#c.pt"))


def test_networks_below_are_named_by_their_paths(tmp_path: Path) -> None:
    for name in ("a.safetensors", "unet/b.safetensors", "unet/c.safetensors", "vae/model.safetensors"):
        written(tmp_path / name)
    for name in ("a.safetensors", "unet/b.safetensors", "vae", "vae/model.safetensors"):
        assert tensors_of(Path(f"{tmp_path}#{name}")) == {*STATE}, name
    with pytest.raises(UnreadableCheckpoint, match="no network 'unet/x'"):
        weight_files(Path(f"{tmp_path}#unet/x"))


def test_an_index_that_changes_is_read_again(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    for files in (["x.bin"], ["x.bin", "y.bin"]):
        index.write_text(json.dumps({"weight_map": dict(zip("ab", files, strict=False))}))
        assert indexes(tmp_path, [index.name]) == [files]


def test_a_single_folder_called_as_a_precision_is_no_variant(lake: Lake, zoo: Path) -> None:
    written(zoo / "fp16" / "model.safetensors")
    assert ingest(lake, directory(zoo)).new == ["directory:zoo/fp16"]


@pytest.mark.parametrize("names", [("q1", "q2"), ("half", "fp16"), ("static", "dynamic")])
def test_folders_of_networks_are_no_variants(names: tuple[str, str], lake: Lake, zoo: Path) -> None:
    for name in names:
        written(zoo / name / "model.safetensors")
    assert {*ingest(lake, directory(zoo)).new} == {f"directory:zoo/{name}" for name in names}


def test_a_whole_takes_no_config_of_a_part(lake: Lake, tmp_path: Path) -> None:
    write_model(tmp_path / "text_encoder", STATE, {"model_type": "llama"})
    written(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    (tmp_path / "model_index.json").write_text(json.dumps({"unet": ["d", "U"]}))
    with open_network(lake, str(tmp_path)) as whole, open_network(lake, f"{tmp_path}#text_encoder") as part:
        assert (whole.config, whole.folder) == ({}, tmp_path)
        assert part.config == {"model_type": "llama"}
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UnreadableCheckpoint, match=r"^unet: "), open_checkpoint(weight_files(tmp_path)):
        pass


def test_data_beside_networks_is_never_passed_over_in_silence(lake: Lake, zoo: Path) -> None:
    place = zoo / "loose"
    written(place / "a.pt")
    with (place / "b.pkl").open("wb") as file:
        pickle.dump({name: value.numpy() for name, value in STATE.items()}, file)
    (place / "history.pkl").write_bytes(pickle.dumps({"epochs": [1, 2]}))
    np.savez(place / "data.npz", X=np.ones((4, 2)), y=np.ones(4))
    joblib.dump({"c": np.ones(3)}, place / "c.joblib", compress=3)
    summary = ingest(lake, directory(zoo))
    assert sorted(summary.new) == [
        f"directory:zoo/loose{name}" for name in ("", "#b.pkl", "#c.joblib", "#data.npz", "#history.pkl")
    ]
    skipped = {
        row["model_id"].partition("#")[2]: row["reason"] for row in skipped_models(lake, summary.batches[0])
    }
    assert skipped.keys() == {"c.joblib", "data.npz", "history.pkl"}, "the other pickle holds a network"
    assert "zlib" in skipped["c.joblib"]
    assert "X, y" in skipped["data.npz"]
    assert not ingest(lake, directory(zoo)).batches
    with open_network(lake, "directory:zoo/loose#b.pkl") as network:
        assert {*network.checkpoint.tensors} == {*STATE}


def test_of_much_data_beside_networks_the_first_is_opened(zoo: Path) -> None:
    written(zoo / "a.pt")
    for number in range(40):
        (zoo / f"{number}.npz").write_bytes(b"data")
    *opened, last = data_beside(zoo, models_of(zoo))
    assert [model.files for model in opened] == [(f"{number}.npz",) for number in range(16)]
    assert (last.files, last.reason) == (
        (),
        "not opened, one of 24 such files: the first 16 of a folder are",
    )


def test_names_of_what_is_on_this_machine(zoo: Path) -> None:
    written(zoo / "with#mark" / "a.pt")
    for name in (zoo, zoo / "with#mark", zoo / "with#mark" / "a.pt", f"{zoo / 'with#mark'}#a.pt", f"{zoo}#a"):
        assert is_place(str(name))
    for name in ("nowhere#a.pt", "org/name#unet", "directory:zoo/.#a.pt", ""):
        assert not is_place(name)
