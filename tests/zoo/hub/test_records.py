"""Repositories of several networks: which models they are, as they change, and that a folder's are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.zoo.batches import store_batch
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.record import ModelRecord
from tests.lakes import directory
from tests.standin_hub import Fault, StandinHub
from tests.zoo.hub.hubs import CONFIG, config, crawl, hub, ingest, reasons, weights

__all__ = ["hub"]

LORA = save({"x.lora_down.weight": torch.ones(2, 4), "x.lora_up.weight": torch.ones(4, 2)})
INDEX = json.dumps({"_class_name": "P", "unet": ["d", "U"], "vae": ["d", "V"]}).encode()
PIPELINE = {
    "model_index.json": INDEX,
    "unet/config.json": CONFIG,
    "unet/diffusion_pytorch_model.safetensors": weights(1),
    "unet/diffusion_pytorch_model.fp16.safetensors": weights(1),
    "vae/diffusion_pytorch_model.safetensors": weights(2),
    "checkpoint-500/model.safetensors": weights(3),
}
LAYOUTS: dict[str, Mapping[str, bytes]] = {
    "loose": {"a.safetensors": weights(1), "b.safetensors": weights(2), "config.json": CONFIG},
    "pipeline": PIPELINE,
    "broken": {**PIPELINE, "model_index.json": INDEX, "vae/config.json": b"{}"}
    | {"vae/diffusion_pytorch_model.safetensors": weights(2)},
    "sentence": {
        "modules.json": json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]).encode(),
        "config.json": CONFIG,
        "model.safetensors": weights(1),
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": weights(2),
        "onnx/model.safetensors": weights(1),
    },
    "adapters": {"style-v1.safetensors": LORA, "style-v2.safetensors": LORA},
    "quantised": {"m-Q4_K_M.gguf": b"GGUF", "m-Q8_0.gguf": b"GGUF", "mmproj-F16.gguf": b"GGUF"},
    "by folder": {f"{kind}/m-{kind}-00001-of-00001.gguf": b"GGUF" for kind in ("Q4_K_M", "Q8_0")},
    "trainer": {f"checkpoint-{step}/model.safetensors": weights(step) for step in (500, 1000)},
    "shard": {"model-00001-of-00002.safetensors": weights(1), "b.safetensors": weights(2)},
    "pickle": {"checkpoint_best.pth.tar": b"\x80\x02}q\x00."},
    "archive": {"data.zip": b"PK\x03\x04" + bytes(40), "LICENSE": b"to kill"},
}


def found_under(lake: Lake, start: str) -> dict[str, tuple[list[str], list[str], str | None]]:
    """The path of each model under an id → its files, its variants, and why it can't be taken."""
    return {
        name.removeprefix(start).replace("#", "/").strip("/."): (
            [file.path for file in record.files],
            [tag for tag in record.tags if tag.startswith("variant:")],
            record.reason,
        )
        for name, record in Current(lake).records().items()
        if name.startswith(start)
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repository_holds_what_a_folder_of_its_files_does(
    layout: str, lake: Lake, hub: StandinHub, zoo: Path
) -> None:
    for name, content in LAYOUTS[layout].items():
        (zoo / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (zoo / "m" / name).write_bytes(content)
    hub.push("org/x", LAYOUTS[layout])
    crawl(lake, hub)
    crawl_zoo(lake, directory(zoo))
    here = found_under(lake, "directory:zoo/m")
    assert found_under(lake, "org/x") == (here or {"": ([], [], "no weights")})


def test_a_pipeline_is_a_whole_and_parts_with_their_configs(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/p", PIPELINE)
    assert {*crawl(lake, hub).new} >= {"org/p", "org/p#unet", "org/p#vae", "org/p#checkpoint-500"}
    records = Current(lake).records()
    files = {name: [file.path for file in record.files] for name, record in records.items()}
    model = "diffusion_pytorch_model.safetensors"
    assert files["org/p"] == [f"unet/{model}", f"vae/{model}", "unet/config.json"]
    assert files["org/p#unet"] == [model, "config.json"]
    assert records["org/p#unet"].uri.endswith(f"/tree/{records['org/p'].revision}/unet")
    assert records["org/p#unet"].tags[-1] == "variant:diffusion_pytorch_model.fp16.safetensors"
    fetcher = Fetcher(config(hub).build(lake))
    whole, unet = (fetcher.fetch(records[name], fetch_sampled).folder for name in ("org/p", "org/p#unet"))
    fetcher.release([records["org/p#unet"]])
    assert (whole / "unet" / "config.json").read_bytes() == CONFIG
    assert not (unet / model).exists()


def test_networks_of_a_repository_change_come_and_go(lake: Lake, hub: StandinHub) -> None:
    files = {"a.safetensors": weights(1), "b.safetensors": weights(2)}
    hub.push("org/two", files)
    assert not ingest(lake, hub)
    assert {*Current(lake).records()} > {"org/two#a.safetensors", "org/two#b.safetensors"}
    assert not crawl(lake, hub).batches
    assert [seen.method for seen in hub.requests] == ["GET", "GET"]
    hub.push("org/two", {"a.safetensors": weights(3), "c.safetensors": weights(4)})
    summary = crawl(lake, hub)
    assert (summary.new, summary.changed) == (["org/two#c.safetensors"], ["org/two#a.safetensors"])
    assert summary.deleted == ["org/two#b.safetensors"]
    hub.push("org/two", {"a.safetensors": weights(3)})
    summary = crawl(lake, hub)
    assert summary.new == ["org/two"]
    assert {*summary.deleted} == {"org/two#a.safetensors", "org/two#c.safetensors"}
    hub.push("org/two", files)
    assert {*crawl(lake, hub).new} == {"org/two#a.safetensors", "org/two#b.safetensors"}
    hub.delete("org/two")
    assert {*crawl(lake, hub).deleted} == {"org/two#a.safetensors", "org/two#b.safetensors"}
    assert not crawl(lake, hub).batches


def test_a_refused_repository_is_one_skipped_model(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/two", LAYOUTS["loose"])
    crawl(lake, hub)
    hub.set("org/two", gated="manual")
    summary = crawl(lake, hub)
    assert reasons(summary) == {"org/two": "gated (manual approval) and no token is set"}
    assert {*summary.deleted} == {"org/two#a.safetensors", "org/two#b.safetensors"}
    hub.set("org/two", gated=False)
    summary = crawl(lake, hub)
    assert ({*summary.new}, summary.deleted) == (
        {"org/two#a.safetensors", "org/two#b.safetensors"},
        ["org/two"],
    )


def test_what_the_hub_does_not_say_changes_nothing(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/p", PIPELINE)
    crawl(lake, hub)
    before = Current(lake).records()
    hub.touch("org/p")
    hub.script("org/p/resolve", [Fault("504")] * (50 * politeness.ATTEMPTS))
    summary = crawl(lake, hub)
    assert not summary.deleted
    assert {*Current(lake).records()} == {*before}
    hub._scripts.clear()
    crawl(lake, hub)
    after = Current(lake).records()
    assert {after[name].revision for name in after if name.startswith("org/p")} == {
        hub.repos["org/p"].head.sha
    }
    assert {record.status for record in after.values()} == {"new"}
    assert not crawl(lake, hub).batches


def test_a_lake_that_skipped_a_repository_of_several_finds_them(lake: Lake, hub: StandinHub) -> None:
    sha = hub.push("org/two", LAYOUTS["loose"])
    old = ModelRecord("huggingface", "org/two", sha, f"{hub.endpoint}/org/two/tree/{sha}", "etag of then")
    store_batch(lake, [old.skipped("2 networks and none is the folder's own")])
    summary = crawl(lake, hub)
    assert {*summary.new} >= {"org/two#a.safetensors", "org/two#b.safetensors"}
    assert summary.deleted == ["org/two"]


def test_adapters_are_a_collection_and_the_card_is_that_of_all(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/l", {**LAYOUTS["adapters"], "README.md": b"---\nlicense: mit\n---\nStyles"})
    crawl(lake, hub)
    found = {name: one for name, one in Current(lake).records().items() if name.startswith("org/l")}
    assert {*found} == {"org/l", "org/l#style-v1.safetensors", "org/l#style-v2.safetensors"}
    assert {one.license for one in found.values()} == {"mit"}
    assert {one.card for one in found.values()} == {"---\nlicense: mit\n---\nStyles"}


def test_formats_that_are_taken_come_in_their_order(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/f", {"model.safetensors": weights(1), "model.onnx": b"x", "other.bin": b"x"})
    crawl(lake, hub, formats=["onnx", "safetensors"])
    record = Current(lake).records()["org/f"]
    assert [file.path for file in record.files] == ["model.onnx"]
    assert record.tags[-1] == "variant:model.safetensors"
    assert not [name for name in Current(lake).records() if name.startswith("org/f#")]
