"""Verdicts on pairs of networks: files as they are, cast, pruned, disguised, renamed, of every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.comparison.verdict import (
    DERIVED,
    EQUIVALENT,
    IDENTICAL,
    UNRELATED,
    compare,
    describe,
)
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.group.elements import ALL
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.zoo.fetching import Fetcher
from tests.lakes import directory, ingest, write_model, write_network
from tests.networks import RELU, module_of
from tests.specimens import FAMILIES
from tests.specimens.running import Saved
from tests.standin_hub import StandinHub
from tests.zoo.hub.hubs import config, files, hub
from tests.zoo.hub.hubs import ingest as ingest_hub

__all__ = ["hub"]
State = dict[str, torch.Tensor]


def quantised(values: torch.Tensor) -> torch.Tensor:
    step = values.abs().max() / 127
    return (values / step).round() * step


CHANGES: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "bfloat16": ("cast", torch.Tensor.bfloat16),
    "float16 in float32": ("cast", lambda x: x.half().float()),
    "pruned": ("pruned", lambda x: torch.where(x.abs() > x.abs().median(), x, 0) if x.dim() > 1 else x),
    "quantised": ("quantised", lambda x: quantised(x) if x.dim() > 1 else x),
    "trained": ("fine-tuned", lambda x: x + 0.02 * x.std() * torch.randn_like(x) if x.dim() > 1 else x),
}


def changed(folder: Path, target: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """A copy of a model with other floating-point values."""
    torch.manual_seed(5)
    state = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    return write_model(
        target, {n: change(x) if x.is_floating_point() else x for n, x in state.items()}, config
    )


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    return write_network(tmp_path / "a", "resnet")


def test_equal_bytes(lake: Lake, resnet: Path, tmp_path: Path) -> None:
    state = load_file(resnet / "model.safetensors")
    save_file(dict(reversed(state.items())), tmp_path / "b.safetensors", {"format": "pt"})
    found = compare(lake, str(resnet), str(tmp_path / "b.safetensors"))
    assert (found["verdict"], found["similarity"]) == (IDENTICAL, 1.0)
    state["fc.bias"][0] += 1e-3
    save_file(state, tmp_path / "b.safetensors")
    assert compare(lake, str(resnet), str(tmp_path / "b.safetensors"))["verdict"] != IDENTICAL


@pytest.mark.parametrize("change", CHANGES)
def test_what_became_of_every_layer(lake: Lake, resnet: Path, tmp_path: Path, change: str) -> None:
    relation, function = CHANGES[change]
    other = changed(resnet, tmp_path / "b", function)
    for a, b, made in ((resnet, other, "B"), (other, resnet, "A")):
        found = compare(lake, str(a), str(b))
        assert (found["verdict"], found["relation"]) == (DERIVED, relation)
        assert all(layer["evidence"] for layer in found["layers"])
        is_told = relation in ("cast", "pruned")
        assert found.get("made") == (made if is_told else None)
        assert (
            f"{relation}, {made} made of" in found["reason"]
            if is_told
            else " made of " not in found["reason"]
        )


def test_a_change_of_low_rank_is_told(lake: Lake, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {f"{i}.weight": torch.randn(32, 32) for i in range(3)}
    a = write_model(tmp_path / "a", state)
    adapted = {name: x + 0.1 * torch.randn(32, 2) @ torch.randn(2, 32) for name, x in state.items()}
    found = compare(lake, str(a), str(write_model(tmp_path / "b", adapted)))
    assert found["relation"] == "fine-tuned"
    assert "rank 2" in found["layers"][0]["evidence"]


def test_other_names_and_other_heads(lake: Lake, resnet: Path, tmp_path: Path) -> None:
    state = load_file(resnet / "model.safetensors")
    renamed = {f"net.{name.replace('layer', 'stage').replace('conv', 'c')}": x for name, x in state.items()}
    found = compare(lake, str(resnet), str(write_model(tmp_path / "b", renamed)))
    assert found["verdict"] == EQUIVALENT
    assert any(row["a"] != row["b"] for row in found["layers"])
    config = json.loads((resnet / "config.json").read_text())
    head = state | {"fc.weight": torch.randn(7, state["fc.weight"].shape[1]), "fc.bias": torch.randn(7)}
    found = compare(lake, str(resnet), str(write_model(tmp_path / "c", head, config)))
    assert found["verdict"] == DERIVED
    assert "fc" not in [row["a"] for row in found["layers"]]


def test_unrelated_networks(lake: Lake, resnet: Path, tmp_path: Path) -> None:
    seed = write_network(tmp_path / "b", "resnet", seed=1)
    found = compare(lake, str(resnet), str(seed))
    assert found["verdict"] == UNRELATED
    assert found["similarity"] < Thresholds.of(lake).derived
    mlp = write_network(tmp_path / "c", "mlp")
    assert compare(lake, str(resnet), str(mlp))["layers"] == []


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid"])
def test_a_network_of_zeros(lake: Lake, tmp_path: Path, activation: str) -> None:
    shapes = {"fc1.weight": (4, 3), "fc2.weight": (2, 4)}
    config = {"hidden_act": activation}
    zeros = write_model(tmp_path / "a", {name: torch.zeros(s) for name, s in shapes.items()}, config)
    other = write_model(tmp_path / "b", {name: torch.randn(s) for name, s in shapes.items()}, config)
    again = write_model(tmp_path / "c", {name: torch.zeros(s).half() for name, s in shapes.items()}, config)
    assert compare(lake, str(zeros), str(other))["verdict"] == UNRELATED
    assert compare(lake, str(zeros), str(again))["verdict"] == EQUIVALENT


def test_model_ids_of_the_lake(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "one", "mlp")
    ingest(lake, directory(zoo, label="zoo"))
    assert compare(lake, "directory:zoo/one", str(zoo / "one"))["verdict"] == IDENTICAL


def test_a_network_of_which_a_part_is_there(lake: Lake, hub: StandinHub) -> None:
    hub.push("org/large", files(**{"model.safetensors": save({"fc.weight": torch.randn(64, 64)})}))
    options = {"bytes_budget": 4096}
    ingest_hub(lake, hub, **options)
    with pytest.raises(UnreadableCheckpoint, match="org/large: its source's byte budget"):
        compare(lake, "org/m0", "org/large", Fetcher(config(hub, **options).build(lake)))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_under_everything_that_it_allows(name: str, lake: Lake, tmp_path: Path) -> None:
    saved = Saved.build(FAMILIES[name], tmp_path / "a")
    strongest = saved.element(ALL)
    saved.acted(strongest, tmp_path / "b")
    found = compare(lake, str(tmp_path / "a"), str(tmp_path / "b"))
    assert found["verdict"] == EQUIVALENT, found["reason"]
    expected = {name: order[0].tolist() for name, order in strongest.permutations.items()}
    assert {name: found["permutations"][name] for name in expected.keys() - strongest.maps} == {
        name: expected[name] for name in expected.keys() - strongest.maps
    }
    thresholds = replace(Thresholds.of(lake), tolerance=1e-9)
    FAMILIES[name].save(FAMILIES[name].build(1), tmp_path / "c")
    with open_network(lake, str(tmp_path / "a")) as a, open_network(lake, str(tmp_path / "c")) as c:
        assert describe(a, c, thresholds)["verdict"] == UNRELATED


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_small_change_in_half_precision_is_no_symmetry(
    tmp_path: Path, lake: Lake, dtype: torch.dtype
) -> None:
    state = {name: value.to(dtype) for name, value in module_of("mlp").state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tuned = {
        name: (value + 0.01 * value.float().std() * torch.randn(value.shape, generator=generator)).to(dtype)
        for name, value in state.items()
    }
    paths = [write_model(tmp_path / name, each, RELU) for name, each in (("a", state), ("b", tuned))]
    assert compare(lake, *map(str, paths))["verdict"] == "derived"


def mlp(*names: str) -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (16, 16), "bias": (16,)}
    return {f"{n}.{role}": torch.randn(s, generator=generator) for n in names for role, s in shapes.items()}


@pytest.mark.parametrize("changed", ["first", "last", "inputs"])
def test_what_stands_where_it_stood_is_seen_whatever_became_of_the_first_and_last_layer(
    lake: Lake, tmp_path: Path, changed: str
) -> None:
    state = mlp("fc1", "fc2", "fc3", "fc4", "fc5")
    other = dict(state)
    if changed == "first":
        other["fc1.weight"] = torch.randn(16, 16)
    elif changed == "last":
        other["fc5.weight"] = -state["fc5.weight"]
    else:
        other["fc1.weight"] = state["fc1.weight"].flip(1)
    paths = [write_model(tmp_path / name, each, RELU) for name, each in (("a", state), ("b", other))]
    found = compare(lake, *map(str, paths))
    assert found["verdict"] == DERIVED
    assert found["similarity"] > 0.6


def test_networks_of_one_file_that_are_exchanged_are_in_another_order(lake: Lake, tmp_path: Path) -> None:
    names = [f"{role}.{number}" for role in ("actor", "critic") for number in (0, 2)]
    state = mlp(*names)
    swap = {"actor": "critic", "critic": "actor"}
    turned = {f"{swap[(parts := name.split('.', 1))[0]]}.{parts[1]}": x for name, x in state.items()}
    paths = [write_model(tmp_path / name, each, RELU) for name, each in (("a", state), ("b", turned))]
    found = compare(lake, *map(str, paths))
    assert (found["verdict"], found["relation"]) == (DERIVED, "reordered")


def test_buffers_belong_to_the_function(lake: Lake, tmp_path: Path) -> None:
    state = mlp("fc1", "fc2")
    masks = [torch.eye(4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)]
    a, b = (write_model(tmp_path / str(i), state | {"mask": mask}, RELU) for i, mask in enumerate(masks))
    found = compare(lake, str(a), str(b))
    assert found["verdict"] == DERIVED
    assert found["reason"].endswith("buffers differ: mask")
    counts = [torch.tensor(1), torch.tensor(2)]
    a, b = (
        write_model(tmp_path / f"c{i}", state | {"bn.num_batches_tracked": count}, RELU)
        for i, count in enumerate(counts)
    )
    assert compare(lake, str(a), str(b))["verdict"] == EQUIVALENT


def test_a_scalar_that_is_missing_is_named(lake: Lake, tmp_path: Path) -> None:
    state = mlp("fc1", "fc2")
    paths = (
        write_model(tmp_path / "a", state | {"logit_scale": torch.tensor(2.0)}, RELU),
        write_model(tmp_path / "b", state, RELU),
    )
    found = compare(lake, *map(str, paths))
    assert (found["verdict"], found["relation"]) == (DERIVED, "part of")
    assert found["reason"].startswith("B is part of A without logit_scale; else ")


def test_what_is_carried_over_to_other_names_is_assumed(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    FAMILIES["llama"].save(FAMILIES["llama"].build(0), folder)
    state = load_file(folder / "model.safetensors")
    renamed = write_model(tmp_path / "b", {f"t{i}": x for i, x in enumerate(state.values())}, {})
    found = compare(lake, str(folder), str(renamed))
    assert found["verdict"] == EQUIVALENT, (found["relation"], found["reason"])
    assert any("coupled alike" in each for each in found["assumes"])


@pytest.mark.parametrize("prefix", ["model.layers", "transformer.h"])
def test_blocks_of_a_disguised_copy_in_another_order(lake: Lake, tmp_path: Path, prefix: str) -> None:
    saved = Saved.build(FAMILIES["llama"], tmp_path / "a")
    saved.acted(saved.element(ALL), tmp_path / "b")
    state = load_file(tmp_path / "b" / "model.safetensors")
    turned = {
        name.replace("layers.0", "layers.x")
        .replace("layers.1", "layers.0")
        .replace("layers.x", "layers.1"): x
        for name, x in state.items()
    }
    config = json.loads((tmp_path / "a" / "config.json").read_text()) if prefix == "model.layers" else {}
    other = {name.replace("model.layers", prefix): x for name, x in turned.items()}
    found = compare(lake, str(tmp_path / "a"), str(write_model(tmp_path / "c", other, config)))
    assert (found["verdict"], found["relation"]) == (DERIVED, "reordered"), found["reason"]


def on_other_scales(state: State) -> State:
    """An MLP of numbered layers with hidden units in another order and on other scales."""
    torch.manual_seed(1)
    turned = dict(state)
    for writer, reader in (("0", "2"), ("2", "4")):
        order = torch.randperm(8)
        factors = torch.rand(8) * 3 + 0.2
        turned[f"{writer}.weight"] = turned[f"{writer}.weight"][order] * factors[:, None]
        turned[f"{writer}.bias"] = turned[f"{writer}.bias"][order] * factors
        turned[f"{reader}.weight"] = turned[f"{reader}.weight"][:, order] / factors
    return turned


def both_ways(lake: Lake, a: str, b: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return compare(lake, a, str(b)), compare(lake, str(b), a)


@pytest.mark.parametrize("kind", [{}, {"model_type": "mlp"}], ids=["chain", "mlp"])
@pytest.mark.parametrize("said", ["nothing", "relu", "gelu", "tanh"])
def test_of_chains_without_a_config_it_is_tried_whether_they_are_of_relu(
    lake: Lake, tmp_path: Path, said: str, kind: dict[str, str]
) -> None:
    shapes = {"0": (8, 6), "2": (8, 8), "4": (3, 8)}
    torch.manual_seed(0)
    state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    torch.save(on_other_scales(state), tmp_path / "copy.pt")
    config = {} if said == "nothing" else kind | {"hidden_act": said}
    original = str(write_model(tmp_path / "a", state, config))
    found, swapped = both_ways(lake, original, tmp_path / "copy.pt")
    assert (found["verdict"] == EQUIVALENT) == (said in ("nothing", "relu")), found["reason"]
    assert swapped["verdict"] == found["verdict"], swapped["reason"]
    if found["verdict"] == EQUIVALENT:
        assert set(swapped["assumes"]) == set(found["assumes"])
    assumed = "hidden units have the activation relu, which no config.json says"
    assert (assumed in found.get("assumes", ())) == (said == "nothing")
    tuned = {name: value + 0.01 * torch.randn(value.shape) for name, value in on_other_scales(state).items()}
    torch.save(tuned, tmp_path / "tuned.pt")
    found, swapped = both_ways(lake, original, tmp_path / "tuned.pt")
    if said in ("nothing", "relu"):
        assert swapped["similarity"] == pytest.approx(found["similarity"], abs=1e-4)
        assert found["verdict"] == swapped["verdict"] == DERIVED
        assert found["similarity"] > 0.99, "what was done to it is told as its scales are taken out"
    assert (assumed in found.get("assumes", ())) == (said == "nothing")
    assert ("activation relu" in found["reason"]) == (said == "nothing")
    state = {name: torch.randn(value.shape) for name, value in state.items()}
    torch.save(on_other_scales(state), tmp_path / "other.pt")
    found = compare(lake, original, str(tmp_path / "other.pt"))
    assert found["verdict"] == UNRELATED
    assert "assumes" not in found


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_named(lake: Lake, resnet: Path, tmp_path: Path, value: float) -> None:
    state = load_file(resnet / "model.safetensors")
    state["fc.weight"][0, 0] = value
    broken = write_model(tmp_path / "b", state, json.loads((resnet / "config.json").read_text()))
    found = compare(lake, str(resnet), str(broken))
    assert found["verdict"] == DERIVED
    assert found["reason"].endswith("; B holds NaN or infinity, taken for zeros, in fc.weight")
    assert compare(lake, str(broken), str(broken))["verdict"] == IDENTICAL
    state["fc.weight"][0] = 0
    zeros = write_model(tmp_path / "c", state, json.loads((resnet / "config.json").read_text()))
    assert compare(lake, str(broken), str(zeros))["verdict"] != IDENTICAL
