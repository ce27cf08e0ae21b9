"""Networks come out of the lake as they were when their checkpoints were open."""

from __future__ import annotations

from pathlib import Path

import torch

from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.symmetry.stored import read_networks, read_wirings
from tests.lakes import directory, ingest, write_network


def stored(lake: Lake, zoo: Path) -> str:
    """A batch of two equal architectures, another one, and a file that can't be read."""
    for name, kind, seed in (("a", "mlp", 0), ("b", "mlp", 1), ("c", "resnet", 0)):
        write_network(zoo / name, kind, seed=seed)
    write_network(zoo / "damaged", "mlp")
    (zoo / "damaged" / "model.safetensors").write_bytes(b"no tensors")
    ingest(lake, directory(zoo))
    (batch,) = lake.batches()
    return batch


def test_networks_are_those_of_the_open_checkpoints(lake: Lake, zoo: Path) -> None:
    found = {network.key: network for network in read_networks(lake, stored(lake, zoo))}
    assert found.keys() == {"directory:zoo/a", "directory:zoo/b", "directory:zoo/c"}
    for key, network in found.items():
        with open_network(lake, key) as opened:
            expected = opened.in_memory(key)
        assert network.wiring == expected.wiring
        assert network.tensors.keys() == expected.tensors.keys()
        assert all(torch.equal(value, expected.tensors[name]) for name, value in network.tensors.items())


def test_only_those_asked_for_are_read(lake: Lake, zoo: Path) -> None:
    asked = {"directory:zoo/b", "directory:zoo/damaged", "nobody"}
    batch = stored(lake, zoo)
    assert [network.key for network in read_networks(lake, batch, asked)] == ["directory:zoo/b"]
    assert read_wirings(lake, batch, asked).keys() == {"directory:zoo/b"}


def test_equal_wirings_are_one(lake: Lake, zoo: Path) -> None:
    wirings = read_wirings(lake, stored(lake, zoo))
    assert wirings["directory:zoo/a"] is wirings["directory:zoo/b"]
    assert wirings["directory:zoo/a"] != wirings["directory:zoo/c"]
