"""One opener: paths, models of the Hub, and model ids of the lake, whose files may be elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.comparison.verdict import compare
from peace_pipeline.encoder import store
from peace_pipeline.encoder.checkpoints import embed_checkpoints
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.symmetry.wiring_report import describe_wiring
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.zoo.fetching import Fetcher
from tests.lakes import directory, ingest, write_network
from tests.standin_hub import StandinHub
from tests.zoo.hub.hubs import config, hub
from tests.zoo.hub.hubs import ingest as ingest_hub

__all__ = ["hub"]


def weights_of(lake: Lake, name: str, fetcher: Fetcher | None = None) -> list[torch.Tensor]:
    with open_network(lake, name, fetcher) as network:
        return list(network.in_memory(name).tensors.values())


def alike(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def downloads(lake: Lake) -> list[Path]:
    """Files that were brought from a Hub and kept."""
    return [path for path in (lake.root / "zoo/huggingface/cache").rglob("*") if path.is_file()]


def test_a_path_and_the_id_of_a_folder(lake: Lake, zoo: Path) -> None:
    folder = write_network(zoo / "a", "resnet")
    ingest(lake, directory(zoo))
    found = weights_of(lake, str(folder))
    assert alike(found, weights_of(lake, str(folder / "model.safetensors")))
    assert alike(found, weights_of(lake, "directory:zoo/a"))


def test_a_model_of_the_hub_by_its_id(lake: Lake, hub: StandinHub) -> None:
    """Through the source that it came from; what is fetched for it is given up again."""
    ingest_hub(lake, hub)
    fetcher = Fetcher(config(hub).build(lake))
    assert not alike(weights_of(lake, "org/m0", fetcher), weights_of(lake, "org/m1", fetcher))
    assert compare(lake, "org/m0", "org/m0", fetcher)["verdict"] == "identical"
    assert describe_wiring(lake, "org/m0", fetcher).wiring.method == "chain"
    store.save(lake, Encoder(), {})
    (embedded,) = embed_checkpoints(lake, ["org/m0"], fetcher)
    assert embedded.vector is not None
    assert downloads(lake) == []


def test_a_model_of_the_hub_whose_source_is_not_configured(
    lake: Lake, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_hub(lake, hub)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    by_name = weights_of(lake, f"hf://org/m0@{hub.repos['org/m0'].head.sha}")
    assert alike(weights_of(lake, "org/m0"), by_name)


def test_what_names_nothing(lake: Lake, zoo: Path, hub: StandinHub) -> None:
    write_network(zoo / "a", "mlp")
    ingest(lake, directory(zoo))
    for name in ("org/nothing", "directory:zoo/b", str(zoo / "b"), "~nobody/b", "b" * 300):
        with pytest.raises(UnreadableCheckpoint, match="no such file or folder"):
            weights_of(lake, name)


def test_a_model_that_is_gone(lake: Lake, zoo: Path) -> None:
    folder = write_network(zoo / "a", "mlp")
    write_network(zoo / "b", "mlp")
    ingest(lake, directory(zoo))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    ingest(lake, directory(zoo))
    with pytest.raises(UnreadableCheckpoint, match="no longer at its source"):
        weights_of(lake, "directory:zoo/a")
