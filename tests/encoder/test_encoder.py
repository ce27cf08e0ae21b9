"""The encoder on every architecture: still under symmetries, alone or in company, whatever variant it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import VARIANTS, EncoderConfig
from peace_pipeline.encoder.embed import Embedding, embed, embed_stacks
from peace_pipeline.encoder.inputs import MOST_UNITS, encoder_input, reduced
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.invariance import Movements, assert_embedding_invariant
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.network import Network, stacked
from tests.conftest import RELU, as_input, networks_of

SYMMETRIC = ["mlp", "cnn", "resnet", "bottleneck"]
ARCHITECTURES = [*SYMMETRIC, "independent"]


def encoder_of(config: EncoderConfig | None = None, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(config).eval()


def by_key(
    encoder: Encoder, networks: list[Network], dtype: torch.dtype = torch.float32
) -> dict[str, Embedding]:
    found = list(embed(encoder, networks, dtype))
    assert len(found) == len(networks)
    return {embedding.key: embedding for embedding in found}


def close(a: Embedding, b: Embedding, tolerance: float = 1e-5) -> bool:
    return bool(
        np.abs(a.network - b.network).max() <= tolerance and np.abs(a.layers - b.layers).max() <= tolerance
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("architecture", SYMMETRIC)
def test_symmetries_leave_the_embedding(architecture: str, dtype: torch.dtype) -> None:
    assert_embedding_invariant(encoder_of(), networks_of(architecture, 8), dtype)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_embeds_every_architecture(variant: str, architecture: str) -> None:
    networks = networks_of(architecture, 3)
    found = by_key(encoder_of(VARIANTS[variant]), networks)
    for network in networks:
        embedding = found[network.key]
        assert embedding.network.shape == (VARIANTS[variant].dimension,)
        assert embedding.layers.shape == (len(network.wiring.layers), VARIANTS[variant].token_width)
        for vectors in (embedding.network[None], embedding.layers):
            assert np.isfinite(vectors).all()
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    spread = np.std([embedding.network for embedding in found.values()], axis=0).mean()
    assert spread > 1e-5, "networks are told apart"


@pytest.mark.parametrize("variant", VARIANTS)
def test_company_and_order_do_not_matter(variant: str) -> None:
    networks = [network for architecture in ARCHITECTURES for network in networks_of(architecture, 2)]
    encoder = encoder_of(VARIANTS[variant])
    together, backwards = by_key(encoder, networks), by_key(encoder, networks[::-1])
    for network in networks:
        alone = by_key(encoder, [network])[network.key]
        assert close(alone, together[network.key])
        assert close(alone, backwards[network.key])


def test_double_precision_agrees_with_single() -> None:
    networks = networks_of("resnet", 3)
    single, double = by_key(encoder_of(), networks), by_key(encoder_of(), networks, torch.float64)
    assert all(embedding.network.dtype == np.float64 for embedding in double.values())
    assert all(close(single[key], double[key], 1e-3) for key in single)
    assert not any(np.array_equal(single[key].network, double[key].network) for key in single)


def wide(count: int, units: int) -> list[Network]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(count):
        state = {
            "0.weight": torch.randn(units, 6, generator=generator, dtype=torch.float64),
            "0.bias": torch.randn(units, generator=generator, dtype=torch.float64),
            "1.weight": torch.randn(3, units, generator=generator, dtype=torch.float64),
        }
        found.append(as_input(f"wide-{number}", state, RELU))
    return found


def test_reduction_of_wide_layers_is_permutation_equivariant() -> None:
    units = MOST_UNITS + 80
    networks = wide(4, units)
    (stack,) = stacked(networks)
    stack = encoder_input(stack, EncoderConfig())
    assert stack.tensors["0.weight"].shape == (4, MOST_UNITS, 6)
    assert stack.tensors["1.weight"].shape == (4, 3, MOST_UNITS)
    assert stack.wiring.groups[stack.wiring.layers[0].out.group].full_size == units
    assert_embedding_invariant(encoder_of(), networks)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-4), (torch.float32, 1e-2)])
@pytest.mark.parametrize("bias", [0.0, 1e-3, 1.0])
def test_reduction_does_not_hang_on_rounding(bias: float, dtype: torch.dtype, bound: float) -> None:
    """A rank that rounding decides moves an embedding by 0.3; an untrained encoder's small spread, by 0.001."""
    networks = [
        replace(each, tensors={name: t * bias if "bias" in name else t for name, t in each.tensors.items()})
        for each in wide(4, MOST_UNITS + 80)
    ]
    moved = Movements(encoder_of(), stacked(networks), dtype, seed=0).still()
    assert max(moved.values()) <= bound


def test_every_parameter_is_used() -> None:
    networks = [network for architecture in ARCHITECTURES for network in networks_of(architecture, 3)]
    norm = as_input(
        "norm", {"a.weight": torch.randn(8, 5), "n.weight": torch.randn(8), "b.weight": torch.randn(3, 8)}, {}
    )
    encoder = encoder_of().double().train()
    typed = [network.to(torch.float64) for network in (*networks, norm)]
    embedded = encoder([encoder_input(stack, encoder.config) for stack in stacked(typed)])
    (embedded.networks * torch.randn_like(embedded.networks)).sum().backward()
    unused = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert unused == []


def test_reduction_keeps_weights_together() -> None:
    (stack,) = stacked(wide(1, 9))
    single, kept = stack.tensors, reduced(stack, 4).tensors
    position = [single["0.bias"][0].tolist().index(value) for value in kept["0.bias"][0].tolist()]
    assert torch.equal(kept["0.weight"], single["0.weight"][:, position][:, :, [0, 2, 3, 5]])
    assert torch.equal(kept["1.weight"], single["1.weight"][:, :, position])


def test_no_networks_have_no_embeddings() -> None:
    assert list(embed(encoder_of(), [])) == []


def test_stacks_are_embedded_in_order() -> None:
    stacks = stacked(networks_of("mlp", 3) + networks_of("cnn", 2) + networks_of("mlp", 2, seed=9))
    encoder = encoder_of()
    found = list(embed_stacks(encoder, stacks))
    assert [embedding.key for embedding in found] == [key for stack in stacks for key in stack.keys]
    alone = embed_stacks(encoder, [piece for stack in stacks for piece in stack.cut(1)])
    assert all(close(a, b) for a, b in zip(found, alone, strict=True))


def test_a_saved_encoder_is_the_same_encoder(lake: Lake) -> None:
    networks = networks_of("cnn", 2)
    config = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, dimension=8, transformer=False)
    encoder = encoder_of(config)
    version = store.save(lake, encoder, {"seed": 0})
    found, loaded = store.load(lake)
    assert found == version == store.current_version(lake)
    assert (loaded.config, loaded.training) == (config, False)
    before, after = by_key(encoder, networks), by_key(loaded, networks)
    assert all(np.array_equal(before[key].network, after[key].network) for key in before)


def test_versions_name_weights_and_training(lake: Lake) -> None:
    config = EncoderConfig(width=16, heads=4, rounds=1, token_width=16, dimension=8)
    first = store.save(lake, encoder_of(config), {"seed": 0})
    second = store.save(lake, encoder_of(config, seed=1), {"seed": 0})
    third = store.save(lake, encoder_of(config), {"seed": 1})
    fourth = store.save(lake, encoder_of(replace(config, transformer=False)), {"seed": 0})
    assert len({first, second, third, fourth}) == 4
    assert store.current_version(lake) == fourth
    assert store.save(lake, encoder_of(config), {"seed": 0}) == first == store.current_version(lake)
    assert store.load(lake, second)[0] == second
    assert sorted(path.name for path in lake.encoders.iterdir()) == sorted(
        [first, second, third, fourth, "current"]
    )


def test_a_lake_without_an_encoder(lake: Lake) -> None:
    assert store.current_version(lake) is None
    with pytest.raises(store.NoEncoder, match="64 networks"):
        store.load(lake)
