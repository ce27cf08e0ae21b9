"""Wholes: each part wired by itself, with its own config, by path as in the lake and from the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.symmetry.stored import read_networks, read_wirings
from peace_pipeline.symmetry.wiring.joining import joined
from peace_pipeline.symmetry.wiring.types import PARTS
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.logical import read_of
from peace_pipeline.zoo.fetching import Fetcher
from tests.lakes import directory, ingest, write_network
from tests.networks import config_of, module_of
from tests.standin_hub import StandinHub
from tests.zoo.hub.hubs import config, hub
from tests.zoo.hub.hubs import ingest as ingest_hub

__all__ = ["hub"]


@pytest.fixture
def pipeline(zoo: Path) -> Path:
    """An MLP, a network of convolutions, a residual network, and one of which nothing is known."""
    folder = zoo / "p"
    for part, architecture in (("a", "mlp"), ("b", "cnn"), ("t", "resnet")):
        write_network(folder / part, architecture)
    (folder / "u").mkdir()
    values = {"x.weight": torch.randn(5, 7), "y.weight": torch.randn(11, 3), "z.weight": torch.randn(2, 13)}
    save_file(values, folder / "u" / "model.safetensors")
    (folder / "model_index.json").write_text(json.dumps({name: ["d", "C"] for name in "abtu"}))
    return folder


def test_each_part_is_wired_with_its_own_config(pipeline: Path, lake: Lake) -> None:
    with open_network(lake, str(pipeline)) as whole:
        assert whole.wiring.method == PARTS
        for name in "abtu":
            with open_network(lake, f"{pipeline}#{name}") as part:
                groups = {key: one for key, one in whole.wiring.groups.items() if key.startswith(f"{name}.")}
                assert {key.removeprefix(f"{name}."): one.actions for key, one in groups.items()} == {
                    key: one.actions for key, one in part.wiring.groups.items()
                }
                for tensor in part.logical.tensors:
                    read = whole.logical.read(f"{name}.{tensor}")
                    assert torch.equal(read, part.logical.read(tensor))
        stored = next(name for name in whole.checkpoint.tensors if name.startswith("u."))
        changed = whole.logical.rewritten(stored, lambda name, values: values + (name == stored))
        assert torch.equal(changed, whole.checkpoint.read(stored) + 1)
        assert "t: its config names resnet" in whole.reason
        assert whole.logical.coverage.shares["layers"] > 0.9
        shares = read_of(whole.checkpoint, {}).shares
        assert shares == whole.logical.coverage.shares


def test_a_whole_by_path_is_that_of_the_lake_and_of_the_hub(
    pipeline: Path, lake: Lake, hub: StandinHub, tmp_path: Path
) -> None:
    (batch,) = ingest(lake, directory(pipeline.parent)).batches
    hub.import_folder(pipeline.parent, "org")
    assert not ingest_hub(lake, hub)
    name = "directory:zoo/p"
    with open_network(lake, str(pipeline)) as whole:
        by_path = whole.in_memory("x")
        reduced = Reduction(whole.wiring, whole.logical.tensors).wiring
    assert read_wirings(lake, batch)[name].to_json() == reduced.to_json()
    (stored,) = read_networks(lake, batch, {name})
    with open_network(lake, "org/p", Fetcher(config(hub).build(lake))) as remote:
        by_id = remote.in_memory("x")
    for tensor, values in by_path.tensors.items():
        assert torch.equal(stored.tensors[tensor], values)
        assert torch.equal(by_id.tensors[tensor], values)


def test_wholes_are_read_by_ranges_within_a_budget(
    pipeline: Path, lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.import_folder(pipeline.parent, "org")
    budget = sum(path.stat().st_size for path in pipeline.rglob("*.safetensors")) - 1500
    ingest_hub(lake, hub, bytes_budget=budget)
    fetcher = Fetcher(config(hub, bytes_budget=budget).build(lake))
    with open_network(lake, "org/p", fetcher) as part, open_network(lake, str(pipeline)) as whole:
        assert part.logical.sampled
        assert (part.wiring.method, len(part.wiring.groups)) == (PARTS, len(whole.wiring.groups))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    with open_network(lake, "hf://org/p") as remote, open_network(lake, "hf://org/p#t") as inner:
        assert remote.wiring.method == PARTS
        assert inner.wiring.family == "resnet"
    with pytest.raises(UnreadableCheckpoint, match=r"no network 'x': org/p, org/p#a"):
        open_network(lake, "hf://org/p#x").__enter__()


def test_a_part_that_cannot_be_read_is_named(pipeline: Path, lake: Lake) -> None:
    save_file(
        {"x.weight": torch.zeros(4, 4, dtype=torch.int32), "x.scales": torch.ones(4)},
        pipeline / "u" / "model.safetensors",
    )
    with pytest.raises(UnreadableCheckpoint, match=r"^u: "), open_network(lake, str(pipeline)):
        pass


def test_parts_of_one_kind_make_a_whole_of_that_kind(lake: Lake, zoo: Path) -> None:
    state = module_of("mlp", 0, torch.float32).state_dict()
    zoo.mkdir(exist_ok=True)
    for name in ("one", "two"):
        (zoo / name).mkdir()
        save_file(state, zoo / name / "model.safetensors")
        (zoo / name / "config.json").write_text(json.dumps(config_of("mlp")))
    (zoo / "model_index.json").write_text("{}")
    with open_network(lake, str(zoo)) as whole, open_network(lake, str(zoo / "one")) as part:
        assert whole.wiring.method == part.wiring.method == "chain"
        assert whole.wiring.assumes == part.wiring.assumes
        twice = joined({"": part.wiring, "x.": part.wiring})
        assert len(twice.groups) == 2 * len(part.wiring.groups)
        assert joined({"": part.wiring}) == part.wiring
    with open_checkpoint([zoo / "one" / "model.safetensors"]) as single:
        assert not single.members
