"""Which files of a repository are its model."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelInfo

from peace_pipeline.lake import Lake
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub.describing import models_of, weight_names
from peace_pipeline.zoo.hub.source import FORMATS
from tests.standin_hub import StandinHub
from tests.zoo.hub.hubs import CONFIG, config, crawl, hub, weights
from tests.zoo.hub.test_tree import ARRAYS, Looks

__all__ = ["hub"]


def test_variants_lie_in_subfolders(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/onnx", {"config.json": CONFIG, "onnx/model.safetensors": weights(5)})
    hub.push("org/gguf", {"m-Q4_K_M.gguf": b"GGUF", "m-Q8_0.gguf": b"GGUF", "m.imatrix.dat": b"x"})
    hub.push("org/two", {"a.safetensors": weights(5), "b.safetensors": weights(6)})
    assert not crawl(lake, hub).skipped
    records = Current(lake).records()
    assert {name for name in records if "two" in name} == {f"org/two#{name}.safetensors" for name in "ab"}
    assert [file.path for file in records["org/gguf"].files] == ["m-Q8_0.gguf"]
    fetched = Fetcher(config(hub).build(lake)).fetch(records["org/onnx"], fetch_sampled)
    assert (fetched.folder / "onnx" / "model.safetensors").read_bytes() == weights(5)
    assert (fetched.folder / "config.json").exists()


LISTINGS = {
    "several": (["a.pt", "b.pt"], ["a.pt", "b.pt"]),
    "pipeline": (["model_index.json", "unet/model.safetensors"], ["unet/model.safetensors"]),
    "archive": (["model.pkl", "README.md"], ["model.pkl"]),
    "foreign": (["model.nemo", "README.md"], ["model.nemo"]),
}


@pytest.mark.parametrize("kind", LISTINGS)
def test_weights_by_names_alone(kind: str) -> None:
    names, found = LISTINGS[kind]
    info = ModelInfo(id="org/a", siblings=[{"rfilename": name} for name in names])
    assert weight_names(info, FORMATS) == found


def test_a_repository_of_what_nothing_reads_says_what_it_is() -> None:
    info = ModelInfo(id="org/a", siblings=[{"rfilename": "model.nemo"}])
    (model,) = models_of(info, FORMATS)
    assert model.reason == "no weights that are read, but an archive of NeMo"
    with pytest.raises(ValueError, match="no weights"):
        weight_names(ModelInfo(id="org/a", siblings=[{"rfilename": "a.txt"}]), FORMATS)


@pytest.mark.parametrize("count", [1, 9, 16, 17])
def test_loose_files_that_may_be_anything_are_models_or_are_said_to_be_passed_over(count: int) -> None:
    names = [f"{number}.npz" for number in range(count)]
    info = ModelInfo(id="a/b", siblings=[{"rfilename": name} for name in names])
    looks = Looks(ARRAYS)
    found = models_of(info, ["npz"], looks)
    assert len(looks.asked) == min(count, 16)
    assert {name for model in found for name in model.files} == set(names[:16])
    assert [model.reason for model in found if not model.files] == (
        ["1 files that may be anything were not looked at, such as 16.npz"] if count > 16 else []
    )
