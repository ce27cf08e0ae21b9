"""Which files of a repository are its model."""

from __future__ import annotations

from peace_pipeline.lake import Lake
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from tests.standin_hub import StandinHub
from tests.zoo.hub.hubs import CONFIG, config, crawl, hub, reasons, weights

__all__ = ["hub"]


def test_variants_lie_in_subfolders(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/onnx", {"config.json": CONFIG, "onnx/model.safetensors": weights(5)})
    hub.push("org/gguf", {"m-Q4_K_M.gguf": b"GGUF", "m-Q8_0.gguf": b"GGUF", "m.imatrix.dat": b"x"})
    hub.push("org/two", {"a.safetensors": weights(5), "b.safetensors": weights(6)})
    found = reasons(crawl(lake, hub))
    assert found == {"org/two": "2 networks and none is the folder's own: a.safetensors, b.safetensors"}
    records = Current(lake).records()
    assert [file.path for file in records["org/gguf"].files] == ["m-Q8_0.gguf"]
    fetched = Fetcher(config(hub).build(lake)).fetch(records["org/onnx"], fetch_sampled)
    assert (fetched.folder / "onnx" / "model.safetensors").read_bytes() == weights(5)
    assert (fetched.folder / "config.json").exists()
